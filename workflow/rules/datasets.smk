# Behaviour policies, and the datasets recorded with them or with scripts.


# SAC from scratch: its replay, its best actor, and the first with a third of the best one's score.
rule behaviour:
    input:
        of("behaviour", "needs"),
    output:
        directory("<results>/behaviour/{policy}"),
    log:
        "<logs>/behaviour/{policy}.log",
    benchmark:
        "<benchmarks>/behaviour/{policy}.jsonl"
    threads: of("behaviour", "threads")
    resources:
        mem_mb=resource("behaviour", "mem_mb"),
        disk_mb=resource("behaviour", "disk_mb"),
        runtime=resource("behaviour", "runtime"),
    params:
        step=of("behaviour", "step"),
        file=of("behaviour", "file"),
        fingerprint=of("behaviour", "fingerprint"),
    message:
        "train behaviour policy {wildcards.policy}"
    shell:
        "python -m {params.step} {params.file:q} --log {log:q}"


rule record:
    input:
        of("record", "needs"),
    output:
        data=directory("<results>/datasets/{family}/{quality}-local-v0"),
        summary="<results>/datasets/{family}-{quality}.json",
    log:
        "<logs>/record/{family}/{quality}.log",
    benchmark:
        "<benchmarks>/record/{family}/{quality}.jsonl"
    resources:
        mem_mb=resource("record", "mem_mb"),
        disk_mb=resource("record", "disk_mb"),
        runtime=resource("record", "runtime"),
    params:
        step=of("record", "step"),
        file=of("record", "file"),
        fingerprint=of("record", "fingerprint"),
    message:
        "record dataset {wildcards.family}-{wildcards.quality}"
    shell:
        "python -m {params.step} {params.file:q} --log {log:q}"
