CREATE DATABASE pk_swap;
USE pk_swap;
CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(10));
INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four');
