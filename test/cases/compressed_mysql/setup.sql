CREATE DATABASE compressed_mysql;
USE compressed_mysql;
CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2000));
INSERT INTO t VALUES (1, 'one'), (2, 'two');
