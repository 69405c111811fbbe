#!/bin/sh
# First contact with a GPU that is lent for minutes.
#
#     sh benchmarks/gpu_first_contact.sh runs OUTPUT            does it run, and where does the time go: 140 s
#     sh benchmarks/gpu_first_contact.sh agents OUTPUT SECONDS CONFIGURATION...    agents, by a campaign
#
# Everything lands in OUTPUT, a file after each step; no step stops the next. DEVICE=cpu rehearses it where there
# is no GPU, the agents with tiny numbers.
set -u
call=$1 output=$2
shift 2
mkdir -p "$output"
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}" MUJOCO_GL=off OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
export CUBLAS_WORKSPACE_CONFIG=:4096:8
python=${PYTHON:-python3} device=${DEVICE:-cuda}

runs() {
    "$python" -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())'
    if [ "$device" = cuda ]; then
        timeout 45 "$python" -m pytest -q -rA tests/algorithms/training/test_cuda_graphs.py -k "gpu or captured"
        timeout 30 "$python" -m benchmarks.gpu_probe --agents 20 1 60 --seconds 15 --output "$output/probe.json"
        timeout 60 "$python" -m benchmarks.gpu --parts updates --seconds 50 --rounds 2 --updates 60 \
            --rows 200000 --output "$output/updates.json"
    else
        timeout 300 "$python" -m benchmarks.gpu_probe --device cpu --agents 1 --output "$output/probe.json"
        timeout 300 "$python" -m benchmarks.gpu --device cpu --parts updates --seconds 20 --rounds 1 --updates 1 \
            --rows 2000 --output "$output/updates.json"
    fi
}

agents() {
    seconds=$1
    shift
    rehearse=
    [ "$device" = cuda ] || rehearse=--rehearse
    # One file is the log: seven bundles make eight, within 64 MiB in all.
    "$python" -m workflow.campaign "$@" --seconds "$seconds" --agents 60 $rehearse --bundle "$output" --bundle-files 7 \
        --bundle-bytes 9000000
}

case $call in
    runs) runs ;;
    agents) agents "$@" ;;
    *)
        echo "gpu_first_contact.sh: the call is $call, expected runs or agents" >&2
        exit 2
        ;;
esac > "$output/log" 2>&1
