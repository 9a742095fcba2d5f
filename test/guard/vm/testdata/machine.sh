guard() { lifeboat-guard "$@" >/tmp/guard.out 2>&1; code=$?; sed 's/^/    /' /tmp/guard.out; }
# wait for the machine to be up: what starts at boot comes and goes.
systemctl is-system-running --wait >/dev/null 2>&1
if systemd-analyze --man=no verify /usr/lib/systemd/system/lifeboat-guard.service >/tmp/verify.out 2>&1; then
	say "unit verified"
else
	say "unit: $(tr '\n' '|' </tmp/verify.out)"
fi
mkdir -p /etc/lifeboat
cat >/etc/lifeboat/guard.yaml <<'CONF'
version: 1
next_boot: disk
commands:
  wipe: [[/usr/sbin/wipefs, -a, "{device}"]]
CONF
systemctl enable --now lifeboat-guard
say "agent $(systemctl is-active lifeboat-guard)"

# A live server, started by systemd.
useradd --system mysql 2>/dev/null
mkdir -p /srv && mv /payload/data /srv/mysql && chown -R mysql /srv/mysql && chmod 755 /payload
cat >/etc/systemd/system/mariadb.service <<'UNIT'
[Service]
User=mysql
RuntimeDirectory=mysqld
ExecStart=/payload/server/bin/mysqld --no-defaults --datadir=/srv/mysql --socket=/run/mysqld/mysqld.sock --skip-networking
UNIT
systemctl daemon-reload
systemctl start mariadb
for i in $(seq 60); do
	[ ! -S /run/mysqld/mysqld.sock ] || break
	sleep 1
done
guard exec reboot -- /usr/bin/systemctl reboot
say "live: exec reboot $code"
guard exec reinstall -- /usr/bin/touch /tmp/reinstalled
say "live: exec reinstall $code"
[ -e /tmp/reinstalled ] || say "live: not reinstalled"
systemctl stop mariadb
guard exec reinstall -- /usr/bin/touch /tmp/reinstalled
say "stopped: exec reinstall $code"

# Layers, made by their own tools.
layer() {
	guard check wipe --device "$1"
	say "$2: $code"
}
disk() {
	truncate -s 64M "/var/$1.img"
	losetup -f --show "/var/$1.img"
}
modprobe -a loop dm_mod dm_crypt raid1
pv=$(disk lvm)
pvcreate -q "$pv" && vgcreate -q vg "$pv" && lvcreate -q -n lv -L 32M vg
layer "$pv" "lvm, active"
mkfs.ext4 -q /dev/vg/lv && mount /dev/vg/lv /mnt && mkdir /mnt/mysql && cp /srv/mysql/ibdata1 /srv/mysql/aria_log_control /mnt/mysql/
umount /mnt
layer "$pv" "data on lvm"
vgchange -q -an vg
layer "$pv" "lvm, inactive"
luks=$(disk luks)
echo secret | cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$luks" -
echo secret | cryptsetup open "$luks" opened -
layer "$luks" "luks, open"
cryptsetup close opened
layer "$luks" "luks, closed"
m1=$(disk m1)
m2=$(disk m2)
mdadm -q --create /dev/md0 --run --metadata=1.2 --level=1 --raid-devices=2 "$m1" "$m2"
layer "$m1" "md, running"
mdadm -q --stop /dev/md0
layer "$m1" "md, stopped"

# An empty disk may be wiped.
empty=$(disk empty)
guard exec wipe --device "$empty" -- /usr/sbin/wipefs -a "$empty"
say "empty: exec wipe $code"

systemctl reboot >/dev/null 2>&1 || say "systemctl reboot is refused"
guard exec reboot -- /usr/bin/systemctl reboot
say "drained: exec reboot $code"
sleep 120
say NO-REBOOT
off
