// Package mysqld asks a running server, over its local Unix socket, what it is:
// its role in replication and who depends on it. What the server says is never
// the only evidence for anything; and it says nothing at all (an error) unless
// it was proven that the account could have seen what it reports.
//
// # What is proven before an answer counts
//
//   - Who answers: the process that listens (SO_PEERCRED of each connection) is
//     one of those the caller expects. This is checked before a password is sent.
//   - Grants: SHOW GRANTS, which on MySQL 8+ and MariaDB 10.5+ lists what the
//     account and its active roles have, names every privilege needed. A server
//     without PROCESS does not refuse, it silently lists the account's own
//     sessions only (sql/sql_show.cc, mysqld_list_processes). REVOKE lines
//     (MySQL's partial revokes) make the grants unproven.
//   - A canary: a second connection of ours must be in the list of sessions, and
//     the list must be no shorter than the server's own counter of connections,
//     Threads_connected, which needs no privilege. So a list that was cut off,
//     or hidden from us by something that SHOW GRANTS does not tell, is noticed.
//   - Everything within one deadline of two seconds: a stopped process (SIGSTOP),
//     a server out of threads and STOP REPLICA waiting for its applier are ErrHung.
//
// A query that the server does not understand is an error: versions are told
// apart beforehand.
//
// # GTIDs
//
// MySQL: gtid_executed. MariaDB: of each domain the furthest of gtid_binlog_pos
// (what this server wrote to its log, replicated transactions included if
// log_slave_updates is on), gtid_slave_pos (what it replicated) and
// gtid_current_pos (both, but of its own log only what carries its own
// server_id). The furthest never claims less than there is. It is a position,
// not a set: BinlogState has the last number of each (domain, server), by which
// a diverged domain can be told. Untracked says why transactions may be missing
// from all of it.
//
// # What is not known
//
// A receiver thread goes on saying that it runs for up to replica_net_timeout
// (default 60 s) after its source's machine has vanished without a word. Replicas
// that are not connected now are unknown here; so are transactions in memory of
// engines without transactions. INNODB_TRX is a snapshot that the server renews
// at most ten times a second (storage/innobase/trx/trx0i_s.cc). MariaDB's
// read_only does not hold back accounts with READ ONLY ADMIN; there is no
// super_read_only there. Exports are noticed by their locks (MySQL) and by the
// first words of the statement they are at; one that is between two statements
// on MariaDB is not.
package mysqld
