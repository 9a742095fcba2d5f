USE rotated_in_the_past;
UPDATE t SET v = 1;
-- The next file's first event bears the time of the session that rotated.
SET timestamp = 1500000000;
FLUSH BINARY LOGS;
UPDATE t SET v = v + 1;
SET timestamp = DEFAULT;
FLUSH BINARY LOGS;
UPDATE t SET v = v * 10;
SET timestamp = 1600000000;
FLUSH BINARY LOGS;
INSERT INTO t SELECT 2, v FROM t;
