"""What the README files say, and the script that signs its user in."""

from __future__ import annotations

README = """\
This folder shows the Unity Catalog volumes of {place}, read-only:

    {outline}

You see the catalogs that your own Databricks identity may use. If you see none, the mount has no valid token
of yours. Give it one (it is kept in memory, and read by nobody, you included):

    cat > .auth/personal_access_token       paste the token, press Enter, then Ctrl-D

or, for a workspace of Azure, sign in with your browser:

    .auth/login.sh

A token is made in the workspace under Settings, Developer, Access tokens. What the mount knows of you, and why
it does not let you in, is in .auth/status.
"""

AUTH_README = """\
personal_access_token   Write a Databricks token into it to use this mount as yourself:

                            cat > personal_access_token     paste, press Enter, then Ctrl-D

                        It serves your local user only, lives in memory, cannot be read back, and is gone when the
                        mount ends. An empty line makes the mount forget it. A token that is malformed is refused as
                        a whole when it is written. While you have a valid token the file is not listed; it is there
                        all the same.

login.sh                Run it to sign in through Microsoft Entra: it shows a page to open and a code to enter
                        there, waits, and says how it ended. `fuse4dbricks auth login MOUNTPOINT` does the same.

login                   What login.sh uses. Write `login`, `cancel` or `logout` into it; read it for the state.

explain                 Says why you may or may not read a path, and what is cached of it. `fuse4dbricks explain PATH`
                        asks it for you.

status, status.json     For you: which sources of a token were looked at, which answered, who you are in the
                        workspace, and until when. No secret is shown. `fuse4dbricks auth status MOUNTPOINT` prints it.

These files are the same for everybody, and what they say is about whoever reads them.
"""

EXPLAIN_USAGE = """\
Write a path of this mount, or one that begins with /Volumes, into this file, and read the answer, which is JSON, from
the same open file:

    exec 3<> .auth/explain; printf %s main/sales/raw/a.csv >&3; cat <&3

`fuse4dbricks explain PATH` does that, and prints the answer for people.
"""

LOGIN_SCRIPT = """\
#!/bin/sh
# Signs you in to the workspace of this mount through Microsoft Entra, with a browser on any device.
here=$(dirname -- "$0")
trap 'echo cancel > "$here/login"; exit 130' INT TERM HUP
echo login > "$here/login" || exit 1
shown=
while :; do
    answer=$(cat "$here/login") || exit 1
    state=$(printf '%s\\n' "$answer" | sed -n 's/^state: //p')
    message=$(printf '%s\\n' "$answer" | sed -n 's/^message: //p')
    case $state in
        waiting)
            [ "$shown" = "$message" ] || printf 'To sign in, %s\\n' "$message"
            shown=$message ;;
        done)
            printf 'Done: %s\\n' "$message"
            exit 0 ;;
        failed | none)
            printf 'Not signed in: %s\\n' "$message" >&2
            exit 1 ;;
    esac
    sleep 1
done
"""
