# Reads the first MiB of each file of the volume at /data, or the first 64 MiB of
# the device there. What this user may not open is counted, and is no failure.
files=0 closed=0
walk() {
  for f in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if [ -L "$f" ]; then
      continue
    elif [ -d "$f" ]; then
      if [ -r "$f" ] && [ -x "$f" ]; then walk "$f"; else closed=$((closed + 1)); fi
    elif [ -f "$f" ]; then
      if [ ! -r "$f" ]; then
        closed=$((closed + 1))
      elif head -c 1048576 "$f" > /dev/null; then
        files=$((files + 1))
      else
        echo "$f cannot be read"
        exit 1
      fi
    fi
  done
}
data=${1:-/data}
if [ -b "$data" ]; then
  if [ ! -r "$data" ]; then
    echo "the device is there; this user may not open it"
  else
    head -c 67108864 "$data" > /dev/null || exit 1
    echo "the beginning of the device was read"
  fi
elif [ -d "$data" ]; then
  if [ ! -r "$data" ] || [ ! -x "$data" ]; then
    echo "the volume is mounted; this user may not look into it"
  else
    walk "$data"
    echo "$files files were read, $closed files or folders may not be opened by this user"
  fi
else
  echo "there is no volume at $data"
  exit 1
fi
