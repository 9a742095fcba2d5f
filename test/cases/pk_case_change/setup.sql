CREATE DATABASE pk_case_change;
USE pk_case_change;
CREATE TABLE t (k VARCHAR(10) CHARACTER SET utf8mb4 PRIMARY KEY, v INT);
CREATE TABLE u (id INT PRIMARY KEY, k VARCHAR(10) COLLATE utf8mb4_general_ci UNIQUE);
INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3);
INSERT INTO u VALUES (1, 'a'), (2, 'b'), (3, 'c');
