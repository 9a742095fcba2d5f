// Package history makes random but reproducible histories of a server: a
// schema, and then transactions, DDL and statement-format changes from several
// connections, everything that a binary log can hold.
//
// One seed gives one history: all choices come from one generator, and the
// connections take turns, so that a server of the same version gives the same
// answers again. Transactions of different connections overlap in time, but an
// open one claims the families of tables it touches (tables bound by foreign
// keys or triggers are one family), so that no statement ever waits for a lock.
//
// Errors that the server gives to a statement, such as a duplicate key, are
// part of a history: the transaction is rolled back or goes on without it.
//
// What is not guaranteed: that clock values and UUIDs are the same again.
// What a history must not contain is anything whose result a log of its own
// format cannot carry, such as UUID() in statement format: the servers
// themselves do not replay those.
package history
