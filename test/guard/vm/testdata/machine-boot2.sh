for i in $(seq 60); do
	! systemctl -q is-active lifeboat-guard || break
	sleep 1
done
say "boot 2: agent $(systemctl is-active lifeboat-guard)"
lifeboat-guard audit verify
say "boot 2: audit verify $?"
systemctl reboot >/dev/null 2>&1 || say "boot 2: systemctl reboot is refused"
sleep 3
