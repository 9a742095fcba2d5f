CREATE DATABASE partial_json;
USE partial_json;
CREATE TABLE t (id INT PRIMARY KEY, j JSON, k JSON, v INT);
INSERT INTO t VALUES (1, '{"a": 1, "b": "some text here", "c": [1, 2, 3]}', '{"x": 1}', 0), (2, '[1, 2, 3]', NULL, 0), (3, NULL, NULL, 0);
