CREATE DATABASE ddl_mid_traffic;
USE ddl_mid_traffic;
CREATE TABLE t (id INT PRIMARY KEY, v INT);
INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);
