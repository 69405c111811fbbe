#!/usr/bin/env bash
# A real Slurm of one node, all of it in one folder: munged, slurmctld and slurmd, without systemd, an accounting
# database or anything under /etc. For tests, as root, on Debian with
#     apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
#
#     tests/cluster/one_node_slurm.sh start FOLDER        then: source FOLDER/environment
#     tests/cluster/one_node_slurm.sh stop FOLDER         ends jobs and daemons; the logs stay
#     tests/cluster/one_node_slurm.sh slurmd FOLDER       starts slurmd again, after it was killed
#
# CPUS (4) and MEMORY (8000, in MB) are what the node says it has, and need not be true.
set -euo pipefail

usage() {
    echo "usage: $0 start|stop|slurmd FOLDER" >&2
    exit 2
}

[ $# -eq 2 ] || usage
command=$1
folder=$(realpath --canonicalize-missing "$2")

require() {
    local program
    for program in munged munge slurmctld slurmd sbatch srun squeue scontrol; do
        command -v "$program" >/dev/null || {
            echo "$program is missing: apt-get install slurmctld slurmd slurm-client munge" >&2
            exit 2
        }
    done
    [ "$(id -u)" -eq 0 ] || { echo "slurmd starts jobs as other users: run this as root" >&2; exit 2; }
    [ ! -e "$folder/run/slurmctld.pid" ] || { echo "$folder holds a Slurm already: stop it first" >&2; exit 2; }
}

configure() {
    local host
    host=$(hostname -s)
    mkdir -p "$folder"/{munge,state,spool,run,log,bin}
    chmod 755 "$folder"
    chmod 700 "$folder/state"
    dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
    chmod 600 "$folder/munge/key"
    cat >"$folder/slurm.conf" <<CONFIGURATION
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17017
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=5
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
# A node that was lost and is back takes jobs again; a lost one is given up after SlurmdTimeout seconds.
ReturnToService=2
SlurmdTimeout=30
KillWait=5
# For an hour squeue says how a job ended: Snakemake asks it.
MinJobAge=3600
# Of names only: nothing looks at the device.
GresTypes=gpu
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17101 CPUs=${CPUS:-4} RealMemory=${MEMORY:-8000} Gres=gpu:1
PartitionName=main Nodes=n1 Default=YES MaxTime=UNLIMITED State=UP
CONFIGURATION
    printf '%s\n' CgroupAutomount=no CgroupPlugin=autodetect IgnoreSystemd=yes >"$folder/cgroup.conf"
    echo "NodeName=n1 Name=gpu File=/dev/zero" >"$folder/gres.conf"
    # Snakemake's job step takes SLURM_CONF out of srun's environment; a cluster has /etc/slurm/slurm.conf instead.
    cat >"$folder/bin/srun" <<WRAPPER
#!/bin/sh
SLURM_CONF=$folder/slurm.conf exec $(command -v srun) "\$@"
WRAPPER
    chmod 755 "$folder/bin/srun"
    cat >"$folder/environment" <<ENVIRONMENT
export SLURM_CONF=$folder/slurm.conf
export PATH=$folder/bin:\$PATH
ENVIRONMENT
}

start_slurmd() {
    slurmd -N n1 -f "$folder/slurm.conf"
}

wait_for_node() {
    for _ in $(seq 300); do
        [ "$(sinfo --noheader --format=%T 2>/dev/null)" != idle ] || return 0
        sleep 0.1
    done
    echo "the node did not come up within 30 seconds: see $folder/log" >&2
    exit 1
}

end() {
    local pid
    [ -e "$folder/run/$1.pid" ] || return 0
    pid=$(cat "$folder/run/$1.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    rm -f "$folder/run/$1.pid"
}

case $command in
start)
    require
    configure
    export SLURM_CONF=$folder/slurm.conf
    munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/run/munged.pid" \
        --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed"
    slurmctld -c -f "$folder/slurm.conf"
    start_slurmd
    wait_for_node
    ;;
stop)
    export SLURM_CONF=$folder/slurm.conf
    scancel --user=root 2>/dev/null || true
    for _ in $(seq 100); do
        [ -n "$(squeue --noheader 2>/dev/null)" ] || break
        sleep 0.1
    done
    end slurmd
    end slurmctld
    end munged
    ;;
slurmd)
    start_slurmd
    ;;
*)
    usage
    ;;
esac
