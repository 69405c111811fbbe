# Behaviour policies, and the datasets recorded with them.


# SAC from scratch: its replay, its best actor, and the first with a third of the best one's score.
rule behaviour:
    output:
        directory("<results>/behaviour/{policy}"),
    log:
        "<logs>/behaviour/{policy}.log",
    benchmark:
        "<benchmarks>/behaviour/{policy}.jsonl"
    threads: PLAN.training_threads
    params:
        settings=lambda wildcards: as_json(PLAN.behaviour_policy(wildcards.policy)),
        run=PLAN.run,
        state=lambda wildcards: PLAN.state("behaviour", *wildcards),
    message:
        "train behaviour policy {wildcards.policy}"
    shell:
        "python -m workflow.steps.behaviour --run {params.run} --policy {wildcards.policy} --settings {params.settings:q}"
        " --state {params.state} --output {output} --log {log}"


rule record:
    input:
        lambda wildcards: PLAN.recorded_from("{family}-{quality}".format(**wildcards)),
    output:
        data=directory("<results>/datasets/{family}/{quality}-local-v0"),
        summary="<results>/datasets/{family}-{quality}.json",
    log:
        "<logs>/record/{family}-{quality}.log",
    benchmark:
        "<benchmarks>/record/{family}-{quality}.jsonl"
    params:
        settings=lambda wildcards: as_json(
            PLAN.recording("{family}-{quality}".format(**wildcards))
        ),
    message:
        "record dataset {wildcards.family}-{wildcards.quality}"
    shell:
        "python -m workflow.steps.record --settings {params.settings:q} --behaviour {input:q}"
        " --output {output.data} --summary {output.summary} --log {log}"


rule dataset_report:
    input:
        expand(
            "<results>/datasets/{dataset}.json", dataset=PLAN.configuration["datasets"]
        ),
    output:
        pdf="<results>/figures/datasets.pdf",
        png=report(
            "<results>/figures/datasets.png",
            caption="../report/datasets.rst",
            category="Datasets",
            labels={"what": "returns"},
        ),
        csv="<results>/figures/datasets.csv",
        caption="<results>/figures/datasets.txt",
    log:
        "<logs>/figures/datasets.log",
    benchmark:
        "<benchmarks>/figures/datasets.jsonl"
    params:
        sources=PLAN.drawing()["fingerprint"],
    message:
        "draw the report of the datasets"
    shell:
        "python -m workflow.steps.dataset_report --summaries {input} --output {output.pdf} --log {log}"
