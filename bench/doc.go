// Package bench compares ways to bring a server that was restored from a
// backup to the end of its binary log, side by side on one machine.
//
// # Data set
//
// Made once per distribution, workload and size, by a real server under
// sysbench, and kept in the cache:
//
//	start/        data directory after "sysbench prepare" and a clean shutdown:
//	              the cold backup every way begins with
//	logs/         the binary logs of "sysbench run", from the first event after
//	              the backup to the clean shutdown: nothing has to be skipped
//	dataset.json  written last: what the other two hold, with the checksum of
//	              each table at the end of the logs
//
// # One way
//
//  1. Copy start/, start a server on it with the settings that are the same
//     for all ways, prepare what the way needs (relay logs in place).
//  2. Bring the file system to rest and read the logs once, so that every way
//     finds the same page cache.
//  3. Start the clock, replay, stop the clock when the last transaction has
//     committed.
//  4. Shut the server down cleanly, with a clock of its own: a way that leaves
//     more dirty pages behind is seen here.
//  5. Start it again and compare the checksum of each table with the source's.
//     Another end state makes the way WRONG and the run fail: its time then
//     means nothing.
//
// # What is in a way's favor
//
// Decisions that had to be made go in favor of the server's own applier: its
// relay logs are written before the clock starts, its source (MariaDB) is
// stopped before, and it commits in any order where it can (MySQL).
//
// What is not guaranteed: that the machine is quiet. The load average at each
// start and the CPU time of tool and server are in the report for that reason.
package bench
