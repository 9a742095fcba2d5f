// Package rig is what the tests of the lifeboat command share: the command as
// a process of its own that can be killed, a recorded world (a cold start, the
// binary logs since, the end state), targets started from it, and a proxy that
// sees every statement on its way and can cut the connection there.
package rig
