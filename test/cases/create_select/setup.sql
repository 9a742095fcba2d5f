CREATE DATABASE create_select;
USE create_select;
CREATE TABLE s (id INT PRIMARY KEY, v VARCHAR(10), d DATETIME(6));
INSERT INTO s VALUES (1, 'a', NOW(6)), (2, 'b', NOW(6)), (3, NULL, NULL);
