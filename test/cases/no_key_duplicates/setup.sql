CREATE DATABASE no_key_duplicates;
USE no_key_duplicates;
CREATE TABLE t (a INT, b VARCHAR(5));
CREATE TABLE i (a INT, b VARCHAR(5), KEY (a));
INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'x'), (2, NULL), (2, NULL), (NULL, NULL), (NULL, NULL);
INSERT INTO i SELECT * FROM t;
