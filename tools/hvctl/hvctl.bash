# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of hvctl for bash.

# Sets command, the count of arguments after it, and, if the machine is a
# domain, connected and uri.  bash takes addresses apart at their colons, so
# this looks at the whole line.
_hvctl_line()
{
    local line=${COMP_LINE-"${COMP_WORDS[*]}"} qmp=${HVCTL_QMP-} i given
    read -ra given <<<"${line:0:${COMP_POINT:-${#line}}}."

    command='' count=0 connected='' uri=''
    for ((i = 1; i < ${#given[@]} - 1; i++)); do
        case ${given[i]} in
        -c | --connect)
            connected=yes
            uri=${given[++i]}
            ;;
        --connect=*)
            connected=yes
            uri=${given[i]#*=}
            ;;
        --qmp | --qmp=*)
            qmp=${given[i]}
            [[ $qmp == *=* ]] || ((i++))
            ;;
        --timeout | --message | --hold | --run | --address | --gateway | \
            --dns | --resume | --cancel | --device)
            ((i++))
            ;;
        -*) ;;
        *)
            if [[ -z $command ]]; then
                command=${given[i]}
            else
                ((count++))
            fi
            ;;
        esac
    done
    given=${VIRSH_DEFAULT_CONNECT_URI:-${LIBVIRT_DEFAULT_URI-}}
    if [[ -z $connected && -z $qmp && -n $given ]]; then
        connected=yes
        uri=$given
    fi
}

_hvctl()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local common='--qmp --connect --json --timeout --help'
    local command count connected uri words=''

    case $prev in
    --qmp | --device)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --timeout | --message | --hold | --run | --address | --gateway | --dns | \
        --resume | --cancel | -c | --connect)
        return
        ;;
    esac
    _hvctl_line
    if [[ -n $connected && -n $command && $command != host-check &&
        $command != xml ]]; then
        if ((count == 0)) && [[ $cur != -* ]]; then
            words=$(virsh -q ${uri:+-c "$uri"} list --name 2>/dev/null)
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
            return
        fi
        ((count--))
    fi
    case $command in
    '')
        words="status heartbeat shutdown timesync snapshot-freeze"
        words+=" snapshot-thaw vss-status kvp ip copy doctor host-check xml"
        words+=" $common --version"
        ;;
    heartbeat) words="$common --watch" ;;
    shutdown) words="$common --reboot --hibernate --force --wait --message" ;;
    timesync) words="$common --sync" ;;
    snapshot-freeze) words="$common --hold --run" ;;
    kvp)
        if [[ $cur == -* ]]; then
            words="$common --direct --number"
        elif ((count == 0)); then
            words="list get set delete"
        elif ((count == 1)); then
            words="external guest auto auto-external auto-internal"
        fi
        ;;
    ip)
        if [[ $cur != -* ]] && ((count == 0)); then
            words="get set"
        else
            words="$common --dhcp --address --gateway --dns"
        fi
        ;;
    copy)
        words="$common --overwrite --create-path --progress --resume --cancel"
        if [[ $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        ;;
    host-check) words="$common --device" ;;
    xml)
        words="$common --stock --native"
        if [[ $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        ;;
    *) words=$common ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _hvctl hvctl
