USE autoinc_gap;
-- The highest number is drawn and given back: the next one must not be it.
INSERT INTO t (v) VALUES (3);
DELETE FROM t WHERE id = 3;
INSERT INTO u (v) VALUES (3), (4);
DELETE FROM u WHERE id > 2;
BEGIN;
INSERT INTO w (v) VALUES (1), (2), (3);
DELETE FROM w;
COMMIT;
INSERT INTO s (g, v) VALUES (1, 1), (1, 2), (2, 1);
DELETE FROM s WHERE g = 2;
INSERT INTO x VALUES (500, 0);
DELETE FROM x WHERE id = 500;
TRUNCATE TABLE x;
INSERT INTO x (v) VALUES (1), (2);
DELETE FROM x WHERE id = 2;
ALTER TABLE s AUTO_INCREMENT = 70;
-- A key that an UPDATE reached and left counts in MySQL, but not in MariaDB.
UPDATE y SET id = 99 WHERE id = 1;
UPDATE y SET id = 1 WHERE id = 99;
INSERT INTO y (v) VALUES (3);
DELETE FROM y WHERE v = 3;
