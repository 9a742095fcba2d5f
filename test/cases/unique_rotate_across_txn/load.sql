USE unique_rotate_across_txn;
UPDATE t SET u = NULL, a = NULL WHERE id = 1;
UPDATE t SET u = 'p', a = 1, b = 1 WHERE id = 2;
UPDATE t SET u = 'q', a = 1, b = 2 WHERE id = 3;
UPDATE t SET u = 'r', a = 2, b = 1 WHERE id = 4;
UPDATE t SET u = 's', a = NULL, b = 1 WHERE id = 1;
-- Around again, with a row of a new key in between.
UPDATE t SET u = 'tmp' WHERE id = 2;
INSERT INTO t VALUES (0, 'p', 7, 7);
UPDATE t SET u = 'P2' WHERE id = 0;
UPDATE t SET u = 'p' WHERE id = 5;
UPDATE t SET u = 't' WHERE id = 2;
