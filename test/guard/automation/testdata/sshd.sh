# sshd.sh DIR ROOT REPO PORT: run sshd with the packaged snippet. The accounts
# it needs exist in a mount namespace only.
set -eu
dir=$1 root=$2 repo=$3 port=$4
cp /etc/passwd "$dir/passwd"
cp /etc/group "$dir/group"
echo 'sshd:x:64022:65534::/run/sshd:/usr/sbin/nologin' >>"$dir/passwd"
echo 'lifeboat-guard:*:64023:64023::/:/bin/sh' >>"$dir/passwd"
echo 'lifeboat-guard:x:64023:' >>"$dir/group"
mount --make-rprivate /
mount --bind "$dir/passwd" /etc/passwd
mount --bind "$dir/group" /etc/group
mount -t tmpfs none /run
mkdir -p /run/sshd
touch "$dir/empty"
sed "s,/usr/bin/lifeboat-guard,$dir/lifeboat-guard," "$repo/packaging/guard/sshd/60-lifeboat-guard.conf" >"$dir/match"
printf '%s\n' "Port $port" 'ListenAddress 127.0.0.1' "HostKey $dir/host" 'UsePAM no' 'StrictModes no' 'PidFile none' \
	"AuthorizedKeysFile $dir/keys" 'Subsystem sftp internal-sftp' "Include $dir/match" >"$dir/sshd_config"
lib=$root/usr/lib/x86_64-linux-gnu
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu:$lib" "$root/usr/sbin/sshd" -r -D -e -f "$dir/sshd_config"
