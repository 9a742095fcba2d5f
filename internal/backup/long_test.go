//go:build long

package backup_test

// everywhere: all drivers on all servers, all kinds of repositories.
const everywhere = true
