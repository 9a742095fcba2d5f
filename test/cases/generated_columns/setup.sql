CREATE DATABASE generated_columns;
USE generated_columns;
CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(10),
  v INT GENERATED ALWAYS AS (a * 2) VIRTUAL,
  s VARCHAR(30) GENERATED ALWAYS AS (CONCAT(b, ':', a)) STORED,
  u INT GENERATED ALWAYS AS (a + 1000) VIRTUAL,
  KEY (v), KEY (s), UNIQUE (u));
INSERT INTO t (id, a, b) VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, NULL);
