module github.com/lifeboat-db/lifeboat

go 1.26
