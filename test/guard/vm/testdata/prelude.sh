PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
say() { echo "VM: $*"; }
off() { sync; echo o >/proc/sysrq-trigger; sleep 60; }
permit() { /usr/lib/lifeboat-guard/permit "$@" || say "permit $* failed"; }
try() {
	timeout 30 "$@" </dev/null >/tmp/out 2>&1
	say "exit $?: $* $(head -c 200 /tmp/out | tr '\n' '|')"
	sleep 3
	if [ "$(systemctl is-system-running)" = stopping ] || systemctl list-jobs --no-legend | grep -qE 'reboot|poweroff|halt|kexec|shutdown'; then
		say "GOING-DOWN $*"
		sleep 90
	else
		say "STAYED $*"
	fi
}
mkdir -p /var/lib/vmtest
n=$(($(cat /var/lib/vmtest/boots 2>/dev/null || echo 0) + 1))
echo $n >/var/lib/vmtest/boots
sync
say "boot $n"
if [ $n != 1 ]; then
	[ ! -e /payload/boot2 ] || . /payload/boot2
	off
fi
cp -a /payload/tree/. /
systemctl daemon-reload
