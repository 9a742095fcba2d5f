CREATE DATABASE big_row;
USE big_row;
CREATE TABLE t (id INT PRIMARY KEY, v LONGBLOB, n INT);
INSERT INTO t VALUES (1, 'small', 0), (2, 'small', 0);
