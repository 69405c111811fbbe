# Pictures and films of the manipulation tasks. Without such datasets nothing asks for these rules.


rule pictures:
    output:
        directory("<results>/manipulation/pictures"),
    log:
        "<logs>/pictures.log",
    benchmark:
        "<benchmarks>/pictures.jsonl"
    resources:
        **limits("pictures"),
    params:
        **command("pictures"),
    message:
        "render the manipulation tasks"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


rule film_agents:
    input:
        needs("film_agents"),
    output:
        strips=directory("<results>/manipulation/films/{task}"),
        gif=report(
            "<results>/figures/film_{task}.gif",
            caption="../report/film.rst",
            category="Figures",
            subcategory="film",
            labels={"what": "{task}"},
        ),
    log:
        "<logs>/film_agents/{task}.log",
    benchmark:
        "<benchmarks>/film_agents/{task}.jsonl"
    resources:
        **limits("film_agents"),
    params:
        **command("film_agents"),
    message:
        "film {wildcards.task}: its script, an agent before and after fine-tuning"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"
