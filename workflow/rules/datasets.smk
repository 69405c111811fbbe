# Behaviour policies, and the datasets recorded with them or with scripts.


# SAC from scratch: its replay, its best actor, and the first with a third of the best one's score.
rule behaviour:
    input:
        needs("behaviour"),
    output:
        directory("<results>/behaviour/{policy}"),
    log:
        "<logs>/behaviour/{policy}.log",
    benchmark:
        "<benchmarks>/behaviour/{policy}.jsonl"
    threads: of("behaviour", "threads")
    resources:
        **limits("behaviour"),
    params:
        **command("behaviour"),
    message:
        "train behaviour policy {wildcards.policy}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


rule record:
    input:
        needs("record"),
    output:
        data=directory("<results>/datasets/{family}/{quality}-local-v0"),
        summary="<results>/datasets/{family}-{quality}.json",
    log:
        "<logs>/record/{family}/{quality}.log",
    benchmark:
        "<benchmarks>/record/{family}/{quality}.jsonl"
    resources:
        **limits("record"),
    params:
        **command("record"),
    message:
        "record dataset {wildcards.family}-{wildcards.quality}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"
