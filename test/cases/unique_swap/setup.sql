CREATE DATABASE unique_swap;
USE unique_swap;
CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, w VARCHAR(10) UNIQUE, v INT);
INSERT INTO t VALUES (1, 10, 'a', 0), (2, 20, 'b', 0), (3, 30, 'c', 0), (4, NULL, NULL, 0);
