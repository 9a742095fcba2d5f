PATH=/usr/local/bin:$PATH
systemctl is-system-running --wait >/dev/null 2>&1
resize2fs /dev/vda >/dev/null 2>&1 || say "the disk does not grow"
dpkg -i /payload/lifeboat.deb >/tmp/dpkg.out 2>&1
say "dpkg -i $?"
say "enabled: $(systemctl list-unit-files 'lifeboat*' --state=enabled --no-legend | wc -l)"
useradd --system mysql 2>/dev/null
mv /payload/data /var/lib/mysql && chown -R mysql: /var/lib/mysql && chmod 755 /payload
ln -s /payload/server/bin/* /usr/local/bin/
cat >/etc/systemd/system/mariadb.service <<'UNIT'
[Service]
User=mysql
RuntimeDirectory=mysqld
ExecStart=/payload/server/bin/mysqld --no-defaults --datadir=/var/lib/mysql --socket=/run/mysqld/mysqld.sock --skip-networking --log-bin=bin --server-id=7 --binlog-format=ROW
UNIT
sql() { mariadb --no-defaults --user=root --socket=/run/mysqld/mysqld.sock -e "$*" >/tmp/sql.out 2>&1 || say "SQL failed: $* $(tail -n 3 /tmp/sql.out) $(journalctl -u mariadb -o cat --no-pager | tail -n 5 | tr '\n' '|')"; }
start() {
	systemctl start mariadb
	for i in $(seq 120); do
		[ ! -S /run/mysqld/mysqld.sock ] || break
		sleep 1
	done
}
systemctl daemon-reload
start
sql "CREATE USER lifeboat@localhost IDENTIFIED BY 'pw'; GRANT REPLICATION SLAVE, BINLOG MONITOR, RELOAD, PROCESS, LOCK TABLES ON *.* TO lifeboat@localhost"
sql "CREATE DATABASE shop; CREATE TABLE shop.t (a INT PRIMARY KEY AUTO_INCREMENT, b TEXT); INSERT INTO shop.t (b) VALUES ('x'), ('y')"

# As docs/archive.md and docs/recovery.md say.
printf '[client]\npassword=pw\n' >/etc/lifeboat/db1.cnf
chown lifeboat: /etc/lifeboat/db1.cnf && chmod 600 /etc/lifeboat/db1.cnf
cat >/etc/lifeboat/lifeboat.yaml <<'CONF'
version: 1
set: orders
servers:
  - name: db1
    dsn: lifeboat@unix(/run/mysqld/mysqld.sock)/
    defaults_file: /etc/lifeboat/db1.cnf
repositories:
  - name: near
    url: /srv/lifeboat/orders
CONF
install -d -o lifeboat -g lifeboat -m 750 /srv/lifeboat /srv/lifeboat/orders
lifeboat() { runuser -u lifeboat -- lifeboat "$@"; }
lifeboat repository create >/dev/null || say "no repository"
for unit in lifeboat-archive.service lifeboat-job-.service; do
	mkdir -p "/etc/systemd/system/$unit.d"
	printf '[Service]\nReadWritePaths=/srv/lifeboat\n' >"/etc/systemd/system/$unit.d/local.conf"
done
systemctl daemon-reload

status() { systemctl show lifeboat-archive -p StatusText --value; }
await() { # TEXT: the service says so
	for i in $(seq 120); do
		case $(status) in *"$1"*) return ;; esac
		sleep 1
	done
	say "never: $1, but $(status)"
}
systemctl enable --now lifeboat-archive >/dev/null 2>&1
say "archive: $(systemctl is-active lifeboat-archive), $(status | grep -o '1 of 1 connections stand')"
for job in full incremental verify drill check expire; do
	systemctl start lifeboat-job-$job
	say "$job: $(systemctl show lifeboat-job-$job -p Result --value) $(systemctl show lifeboat-job-$job -p ExecMainStatus --value)"
	[ "$(systemctl show lifeboat-job-$job -p Result --value)" = success ] || journalctl -u lifeboat-job-$job -o cat --no-pager | tail -n 15
done

# Killed, it comes back; a server that goes and returns is followed again.
kill -9 "$(systemctl show lifeboat-archive -p MainPID --value)"
sleep 6
await "1 of 1"
say "killed: restarted $(systemctl show lifeboat-archive -p NRestarts --value) times"
systemctl stop mariadb
await "0 of 1"
start
await "1 of 1"
sql "INSERT INTO shop.t (b) VALUES ('z')"
for i in $(seq 60); do
	lifeboat archive status >/tmp/status
	! grep -q nothing /tmp/status || break
	sleep 1
done
say "behind: $(grep -o nothing /tmp/status)"
sleep 70 # longer than the watchdog
say "watched: $(systemctl is-active lifeboat-archive), restarted $(systemctl show lifeboat-archive -p NRestarts --value) times"
systemctl stop lifeboat-archive
say "stopped: $(journalctl -u lifeboat-archive -o cat --no-pager | grep -c 'all that was received')"

# The restore that all of this is for, by root, as on that night.
command lifeboat restore --dir /srv/new --no-lease >/tmp/restore.out 2>&1
say "restore: $?"
systemctl stop mariadb
mv /var/lib/mysql /var/lib/lost && mv /srv/new /var/lib/mysql && chown -R mysql: /var/lib/mysql
start
say "rows: $(mariadb --no-defaults --user=root --socket=/run/mysqld/mysqld.sock -N -e 'SELECT GROUP_CONCAT(b ORDER BY a) FROM shop.t')"

systemctl start lifeboat-archive lifeboat-job-full.timer
dpkg -r lifeboat >/tmp/dpkg.out 2>&1
say "dpkg -r $?, $(systemctl list-units --all 'lifeboat*' --state=active --no-legend | wc -l) units are active, $(systemctl --failed --no-legend | wc -l) have failed"
say "kept: $(ls /srv/lifeboat/orders/repository.json /etc/lifeboat/lifeboat.yaml | wc -l)"
off
