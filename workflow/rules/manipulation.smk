# The manipulation tasks: data from scripts, agents from images, fine-tuning by episodes. Without the section
# `manipulation` nothing asks for these rules.


rule record_manipulation:
    output:
        data=directory("<results>/datasets/manipulation/{task}-local-v0"),
        summary="<results>/datasets/manipulation-{task}.json",
    log:
        "<logs>/record/{task}.log",
    benchmark:
        "<benchmarks>/record/{task}.jsonl"
    params:
        settings=lambda wildcards: as_json(MANIPULATION.recording(wildcards.task)),
    message:
        "record images of {wildcards.task}"
    shell:
        "python -m workflow.steps.record_manipulation --settings {params.settings:q}"
        " --output {output.data} --summary {output.summary} --log {log}"


# CQL, which fine-tuning starts from, and the controls that learn offline alone.
rule pretrain_pixels:
    input:
        data=lambda wildcards: MANIPULATION.dataset_folder(wildcards.task),
        start=lambda wildcards: MANIPULATION.starting_folder(*wildcards),
    output:
        agents=directory(
            "<results>/manipulation/agents/{task}/{image_offline}/{agents}"
        ),
        curves="<results>/manipulation/curves/{task}/{image_offline}/agents_{agents}.parquet",
    log:
        "<logs>/pretrain_pixels/{task}_{image_offline}_{agents}.log",
    benchmark:
        "<benchmarks>/pretrain_pixels/{task}_{image_offline}_{agents}.jsonl"
    params:
        settings=lambda wildcards: as_json(
            MANIPULATION.pretraining(wildcards.task, wildcards.image_offline)
        ),
        seeds=lambda wildcards: PLAN.agents_of(wildcards.agents),
        start=lambda wildcards: MANIPULATION.starting_files(*wildcards),
        run=PLAN.run,
        state=lambda wildcards: MANIPULATION.state("pretrain_pixels", *wildcards),
    message:
        "pre-train {wildcards.image_offline} agents {wildcards.agents} on images of {wildcards.task}"
    shell:
        "python -m workflow.steps.pretrain_pixels --run {params.run} --task {wildcards.task}"
        " --label {wildcards.image_offline} --data {input.data} --agents {params.seeds}"
        " --start {params.start} --settings {params.settings:q} --state {params.state}"
        " --output {output.agents} --curves {output.curves} --log {log}"


rule fine_tune_pixels:
    input:
        data=lambda wildcards: MANIPULATION.dataset_folder(wildcards.task),
        agents=lambda wildcards: MANIPULATION.member_folders(*wildcards),
    output:
        actors=directory("<results>/manipulation/actors/{task}/{image_label}/{seeds}"),
        curves="<results>/manipulation/curves/{task}/{image_label}/seeds_{seeds}.parquet",
    log:
        "<logs>/fine_tune_pixels/{task}_{image_label}_{seeds}.log",
    benchmark:
        "<benchmarks>/fine_tune_pixels/{task}_{image_label}_{seeds}.jsonl"
    params:
        settings=lambda wildcards: as_json(
            MANIPULATION.fine_tuning(wildcards.task, wildcards.image_label)
        ),
        members=lambda wildcards: MANIPULATION.member_files(*wildcards),
        seeds=lambda wildcards: wildcards.seeds.split("-"),
        run=PLAN.run,
        state=lambda wildcards: MANIPULATION.state("fine_tune_pixels", *wildcards),
    message:
        "fine-tune {wildcards.image_label} on images of {wildcards.task}, seeds {wildcards.seeds}"
    shell:
        "python -m workflow.steps.fine_tune_pixels --run {params.run} --task {wildcards.task}"
        " --label {wildcards.image_label} --seeds {params.seeds} --data {input.data}"
        " --members {params.members} --settings {params.settings:q} --state {params.state}"
        " --actors {output.actors} --output {output.curves} --log {log}"


rule pictures:
    output:
        directory("<results>/manipulation/pictures"),
    log:
        "<logs>/pictures.log",
    benchmark:
        "<benchmarks>/pictures.jsonl"
    params:
        settings=as_json(MANIPULATION.pictures()),
    message:
        "render the manipulation tasks"
    shell:
        "python -m workflow.steps.pictures --settings {params.settings:q} --output {output} --log {log}"


rule film_agents:
    input:
        members=lambda wildcards: folders_of(
            MANIPULATION.filmed_members(wildcards.task)
        ),
        actor=lambda wildcards: folders_of([MANIPULATION.filmed_actor(wildcards.task)]),
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
    params:
        settings=lambda wildcards: as_json(MANIPULATION.film(wildcards.task)),
        members=lambda wildcards: MANIPULATION.filmed_members(wildcards.task),
        actor=lambda wildcards: MANIPULATION.filmed_actor(wildcards.task),
    message:
        "film {wildcards.task}: its script, an agent before and after fine-tuning"
    shell:
        "python -m workflow.steps.film_agents --task {wildcards.task} --members {params.members}"
        " --actor {params.actor} --settings {params.settings:q} --output {output.strips} --gif {output.gif}"
        " --log {log}"


rule manipulation_figure:
    input:
        curves=lambda wildcards: MANIPULATION.figure_curves(wildcards.image_figure),
        pictures=lambda wildcards: MANIPULATION.pictures_folders(wildcards.image_figure),
    output:
        pdf="<results>/figures/{image_figure}.pdf",
        png=report(
            "<results>/figures/{image_figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{image_figure}",
            labels={"what": "figure"},
        ),
        csv="<results>/figures/{image_figure}.csv",
        caption="<results>/figures/{image_figure}.txt",
    log:
        "<logs>/figures/{image_figure}.log",
    benchmark:
        "<benchmarks>/figures/{image_figure}.jsonl"
    params:
        settings=lambda wildcards: as_json(MANIPULATION.drawing()),
        cache=f"{PLAN.results}/statistics/cache",
    message:
        "draw {wildcards.image_figure}"
    shell:
        "python -m workflow.steps.manipulation_figure --figure {wildcards.image_figure}"
        " --curves {input.curves} --pictures {input.pictures} --settings {params.settings:q}"
        " --cache {params.cache} --output {output.pdf} --log {log}"
