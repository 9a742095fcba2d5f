CREATE DATABASE rotated_in_the_past;
USE rotated_in_the_past;
CREATE TABLE t (id INT PRIMARY KEY, v INT);
INSERT INTO t VALUES (1, 0);
