package config

import (
	"time"
)

// Version is the version of the file's format.
const Version = 1

// Path is where the file is if nobody says otherwise; it need not be there.
const Path = "/etc/lifeboat/lifeboat.yaml"

// Config is what is configured. The tags name the keys: "member" is what flags
// and variables call one of a list, "hint" is what --help says.
type Config struct {
	Version      int          `key:"version" hint:"version of the file's format"`
	Set          string       `key:"set" hint:"name of the set: a-z, 0-9 and -"`
	Servers      []Server     `key:"servers" member:"server"`
	Repositories []Repository `key:"repositories" member:"repo"`
	Archive      Archive      `key:"archive"`
	Backup       Backup       `key:"backup"`
	Restore      Restore      `key:"restore"`
	Expire       Expire       `key:"expire"`
	Drill        Drill        `key:"drill"`
}

// Server is a member of the set that may be asked.
type Server struct {
	Name         string `key:"name" hint:"what messages and metrics call it (default: server1)"`
	DSN          string `key:"dsn" hint:"USER@unix(SOCKET)/ or USER@tcp(HOST:PORT)/"`
	DefaultsFile string `key:"defaults_file" hint:"option file with user and password in its [client] group"`
}

// Repository is a place where things are kept.
type Repository struct {
	Name          string   `key:"name" hint:"what messages and metrics call it (default: repo1)"`
	URL           string   `key:"url" hint:"s3://BUCKET/PREFIX, file:///PATH or /PATH"`
	Endpoint      string   `key:"endpoint" hint:"S3 server other than AWS: https://HOST"`
	Region        string   `key:"region" hint:"region of the bucket"`
	AccessKeyFile string   `key:"access_key_file" hint:"file with the access key; none: as AWS's own tools find it"`
	SecretKeyFile string   `key:"secret_key_file" hint:"file with the secret key"`
	CAFile        string   `key:"ca_file" hint:"certificates to trust beside the system's, PEM"`
	PathStyle     bool     `key:"path_style" hint:"the bucket is in the path, not in the host name"`
	Recipients    []string `key:"recipients" hint:"public keys, age1…, that the repository must be encrypted for"`
	Identities    []string `key:"identities" hint:"files of private keys, only where restores are done"`
}

// Archive is how binary logs are archived.
type Archive struct {
	Flush   time.Duration `key:"flush" hint:"how long a byte waits before it is stored"`
	Segment Size          `key:"segment" hint:"after how many bytes it does not wait"`
	Metrics string        `key:"metrics" hint:"HOST:PORT for Prometheus; empty: none"`
	MaxWait time.Duration `key:"max_wait" hint:"longest time between two attempts after a failure"`
	Purge   string        `key:"purge" hint:"who removes logs from the servers: server, by its own settings, or hold, when they are archived"`
	Keep    time.Duration `key:"keep" hint:"with hold: how long a log stays on its server at least"`
}

// Backup is how backups are taken.
type Backup struct {
	Driver      string        `key:"driver" hint:"auto, mariadb-backup, clone or dump"`
	Incremental bool          `key:"incremental" hint:"only what has changed since the last one, where the driver can"`
	Workers     int           `key:"workers" hint:"parts that are stored at once"`
	Throttle    Size          `key:"throttle" hint:"bytes a second; 0: no limit"`
	Held        time.Duration `key:"held" hint:"how long storage may hold up sessions that wait for mariadb-backup's locks"`
	Part        Size          `key:"part" hint:"bytes of a part"`
}

// Restore is how restores are done.
type Restore struct {
	Workers int  `key:"workers" hint:"parts that are fetched at once"`
	Memory  Size `key:"memory" hint:"memory for the index of changed rows"`
}

// Expire says what may be removed.
type Expire struct {
	KeepFull int           `key:"keep_full" hint:"full backups that stay at least"`
	KeepFor  time.Duration `key:"keep_for" hint:"how far back one can restore at least"`
}

// Drill is how restores are rehearsed.
type Drill struct {
	Objective time.Duration `key:"objective" hint:"how long a recovery may take"`
	Scratch   string        `key:"scratch" hint:"directory for the rehearsal's server"`
	Report    string        `key:"report" hint:"directory for reports"`
}

// Values of Archive.Purge.
const (
	PurgeServer = "server" // servers purge as they are set up
	PurgeHold   = "hold"   // no log goes before it is archived
)

// Default is what holds where nothing is said.
func Default() Config {
	return Config{
		Version: Version,
		Archive: Archive{Flush: time.Second, Segment: 8 << 20, MaxWait: time.Minute, Purge: PurgeServer, Keep: 24 * time.Hour},
		Backup:  Backup{Driver: "auto", Workers: 2, Held: 10 * time.Second, Part: 16 << 20},
		Restore: Restore{Workers: 4, Memory: 1 << 30},
		Expire:  Expire{KeepFull: 2, KeepFor: 30 * 24 * time.Hour},
		Drill:   Drill{Objective: 30 * time.Minute, Scratch: "/var/tmp", Report: "/var/lib/lifeboat/drills"},
	}
}
