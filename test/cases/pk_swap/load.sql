USE pk_swap;
-- Two rows exchange keys through a third, in one transaction.
BEGIN;
UPDATE t SET id = 99 WHERE id = 1;
UPDATE t SET id = 1 WHERE id = 2;
UPDATE t SET id = 2 WHERE id = 99;
COMMIT;
-- The same across transactions.
UPDATE t SET id = 98 WHERE id = 3;
UPDATE t SET id = 3 WHERE id = 4;
UPDATE t SET id = 4 WHERE id = 98;
-- All move by one, in one statement.
UPDATE t SET id = id + 1 ORDER BY id DESC;
-- A key that is left and taken by a new row.
UPDATE t SET id = 50 WHERE id = 2;
INSERT INTO t VALUES (2, 'new');
