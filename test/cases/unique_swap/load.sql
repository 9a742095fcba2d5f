USE unique_swap;
BEGIN;
UPDATE t SET u = NULL WHERE id = 1;
UPDATE t SET u = 10 WHERE id = 2;
UPDATE t SET u = 20 WHERE id = 1;
COMMIT;
-- A value that one row gives up and a row with a lower key takes.
BEGIN;
UPDATE t SET w = 'x' WHERE id = 3;
UPDATE t SET w = 'c' WHERE id = 1;
COMMIT;
DELETE FROM t WHERE id = 2;
INSERT INTO t VALUES (5, 10, 'b', 1);
-- Taken by an update while its holder is deleted.
BEGIN;
DELETE FROM t WHERE id = 5;
UPDATE t SET u = 10, w = 'b' WHERE id = 4;
COMMIT;
