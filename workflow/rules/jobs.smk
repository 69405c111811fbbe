# The rules whose jobs are rows of the table: `workflow.outputs` says what each leaves.

for kind, what in RULES.items():
    # As the job is named: train/{dataset}/{label}/{job}.
    named = "/".join(filter(None, [kind, what.place]))

    rule:
        name:
            kind
        input:
            needs(kind),
        output:
            **left(kind),
        log:
            f"<logs>/{named}.log",
        benchmark:
            f"<benchmarks>/{named}.jsonl"
        wildcard_constraints:
            **constraints(kind),
        threads: of(kind, "threads")
        resources:
            **limits(kind),
        params:
            **command(kind),
        message:
            what.message
        shell:
            "python -m workflow.train {params.file:q} --log {log:q}"
