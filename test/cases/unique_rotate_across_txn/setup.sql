CREATE DATABASE unique_rotate_across_txn;
USE unique_rotate_across_txn;
CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(10) UNIQUE, a INT, b INT, UNIQUE ab (a, b));
INSERT INTO t VALUES (1, 'p', 1, 1), (2, 'q', 1, 2), (3, 'r', 2, 1), (4, 's', NULL, 1), (5, 't', NULL, 1);
