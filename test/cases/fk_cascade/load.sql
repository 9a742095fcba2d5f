USE fk_cascade;
DELETE FROM p WHERE id = 1;
UPDATE p SET id = 5 WHERE id = 2;
UPDATE c SET v = 1 WHERE id = 20;
-- The child leaves before its parent goes.
UPDATE c SET p = 5 WHERE id = 30;
DELETE FROM p WHERE id = 3;
-- A parent goes and comes back; its children do not.
BEGIN;
DELETE FROM p WHERE id = 4;
INSERT INTO p VALUES (4, 1);
COMMIT;
INSERT INTO c VALUES (41, 4, 1);
INSERT INTO p VALUES (1, 1);
INSERT INTO c VALUES (10, 1, 1);
-- Without checks nothing cascades.
SET foreign_key_checks = 0;
DELETE FROM p WHERE id = 1;
SET foreign_key_checks = 1;
