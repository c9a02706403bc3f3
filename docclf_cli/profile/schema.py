"""The profile: one frozen, typed, fully resolved description of a run.

Each key is documented where it is declared; the reference in the documentation is generated from here.
Names of building blocks (a scheduler, a loss, ...) and their `params` are checked against the registries by
the commands, which alone may import them; here only shape, type and range are checked.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


def _checked_pages(value: object) -> object:
    if value in ("all", "first") or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError(f"must be all, first, or a whole number of at least 1, not {value!r}")


WantedPages = Annotated[Literal["all", "first"] | int, BeforeValidator(_checked_pages)]


class Section(BaseModel):
    """Base of all sections: unknown keys are faults, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class DataConfig(Section):
    """Which pages, how they are split, and how one becomes pixels."""

    root: str = Field("data", description="Data root (competition layout), folder tree, CSV file, or `samples`")
    images: str | None = Field(None, description="Folder of the images of a CSV (default: the folder of the same stem)")
    image_column: str = Field("ID", description="CSV column with the image's file name")
    label_column: str = Field("target", description="CSV column with the label: an index of meta.csv, or a class name")
    page_column: str | None = Field(
        "page",
        description="CSV column with the page of a PDF or TIFF, counted from 1 (blank, or no such column: `pages`)",
    )
    pages: WantedPages = Field(
        "all", description="Pages of each PDF or TIFF that are used: all, first, or a number of first pages"
    )
    group_column: str | None = Field(None, description="CSV column that names pages which belong together")
    groups: str | None = Field(None, description="CSV file `ID,group`: pages of a group stay together in every split")
    relabel: str | None = Field(None, description="CSV file `ID,target`: corrected labels, laid over the index")
    add: tuple[str, ...] = Field(
        (),
        description="CSV files `ID,target,path` of labels that were added later, such as the review_labels.csv of `docclf review`",
    )
    exclude: str | None = Field(
        None, description="CSV file with a column `ID`: training pages that are neither trained on nor held out"
    )
    val: str | None = Field(
        None, description="Your own validation set (CSV or folder); otherwise training pages are held out"
    )
    val_fraction: Fraction = Field(0.2, description="Share of the training pages held out for validation")
    split_seed: Natural = Field(0, description="Random seed of the hold-out split")
    fold_seed: Natural = Field(0, description="Random seed of the folds")
    limit: Count | None = Field(
        None, description="Use at most this many training pages (a stratified sample), for quick tests"
    )
    image_size: Annotated[int, Field(ge=16, le=4096, strict=True)] = Field(
        384, description="Side of the square model input in pixels"
    )
    resize_mode: Literal["letterbox", "squash", "crop"] = Field(
        "letterbox", description="letterbox: keep the aspect ratio on a white square; squash; crop: centre square"
    )
    max_pixels: Count = Field(100_000_000, description="Larger images are refused before they are decoded")
    max_unreadable: Share = Field(
        0.01, description="Share of pages that may be unreadable before the run stops (exit 3)"
    )
    allow_symlinks: Flag = Field(False, description="Follow symbolic links that leave the data root")
    cache: str = Field("auto", description="Folder for resized pages; `auto` picks one, `off` decodes every time")
    degraded_validation: Flag = Field(
        True, description="Score a fixed degraded copy of the validation pages every epoch"
    )
    degraded_mirrored: Annotated[float, Field(ge=0, le=0.75, strict=True)] = Field(
        0.25,
        description="Share of that copy that is mirrored; 0 for scanned pages, which are never mirrored",
    )

    @property
    def scored_views(self) -> int:
        """How often validation scores each held-out page: as it is, and degraded."""
        return 2 if self.degraded_validation else 1


class ModelConfig(Section):
    """The network and where its first weights come from."""

    name: str = Field("convnext", description="Model group (`configs/model/`) or any timm model name")
    model_name: str = Field("convnext_tiny", description="Architecture: a timm model name, or an alias such as `vit`")
    pretrained: Flag = Field(
        True, description="Start from ImageNet weights; unreachable weights are an error, never ignored"
    )
    checkpoint_path: str | None = Field(
        None, description="Start from this file (.safetensors, .pth, .ckpt) instead of the hub"
    )
    dropout_rate: Fraction = Field(0.1, description="Dropout before the classifier")
    drop_path_rate: Fraction | None = Field(
        None, description="Stochastic depth; null is the architecture's own default"
    )
    use_attention: Flag = Field(False, description="Put an attention block over the last feature map")
    attention_dim: Count = Field(256, description="Width of the attention block")
    use_focal_loss: Flag = Field(False, description="Same as `loss: focal`, with the two keys below")
    alpha: Positive = Field(1.0, description="Focal loss: factor")
    gamma: NonNegative = Field(2.0, description="Focal loss: focusing exponent")

    @property
    def starts_trained(self) -> bool:
        """Whether the first weights have been trained before."""
        return self.pretrained or self.checkpoint_path is not None


class OptimizerConfig(Section):
    """How weights move."""

    name: str = Field("adamw", description="adam, adamw or sgd")
    lr: Positive = Field(2e-4, description="Peak learning rate of the last layer group")
    weight_decay: NonNegative = Field(0.05, description="Weight decay; norms and biases have none")
    layer_decay: Annotated[float, Field(gt=0, le=1, strict=True)] = Field(
        1.0, description="Learning-rate factor per layer group towards the input"
    )
    head_lr: Positive | None = Field(None, description="Peak learning rate of the classifier; null is `lr`")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Further parameters of the optimizer (betas, momentum, ...)"
    )


class SchedulerConfig(Section):
    """How the learning rate moves."""

    name: str = Field("warmup_cosine", description="A registered scheduler")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Its parameters; totals that are null are those of the run"
    )


class LossConfig(Section):
    """What is minimised."""

    name: str = Field("cross_entropy", description="cross_entropy or focal")
    params: dict[str, Any] = Field(default_factory=dict, description="Its parameters")


class TransformConfig(BaseModel):
    """One named transform of a policy; every other key is one of its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="A registered transform")

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, without the name."""
        return dict(self.model_extra or {})


class AugmentationConfig(Section):
    """How training pages are varied."""

    name: str = Field("document", description="Policy (`configs/augmentation/`): none, light, document, rough")
    transforms: tuple[TransformConfig, ...] = Field((), description="Named transforms with parameters, in order")
    mixup: NonNegative = Field(0.0, description="Beta parameter of mixup; 0 turns it off")
    cutmix: NonNegative = Field(0.0, description="Beta parameter of cutmix; 0 turns it off")
    mix_probability: Share = Field(1.0, description="Share of pages that are mixed where mixup or cutmix is on")


class SnapshotConfig(Section):
    """Which epochs are stored as members of a snapshot ensemble."""

    keep: Literal["none", "cycle", "every", "best"] = Field(
        "none", description="none; cycle: the end of each restart cycle; every: every k epochs; best: the k best epochs"
    )
    k: Count = Field(5, description="The k of `every` and `best`")


class CheckpointEvery(Section):
    """How often the position inside a run is saved."""

    steps: Count | None = Field(None, description="After this many optimizer steps")
    minutes: Positive | None = Field(None, description="After this many minutes")
    epochs: Count | None = Field(1, description="After this many epochs")


class DistillConfig(Section):
    """What a model learns from other models: `docclf distill`."""

    teachers: tuple[str, ...] = Field((), description="Runs or checkpoints whose mean probabilities are learned from")
    weight: Share = Field(0.5, description="Share of the teachers in the loss; the rest is that of the labels")
    softening: Positive = Field(1.0, description="Divides the logits of both sides (beside the teachers' temperature)")


class TrainConfig(Section):
    """The training loop."""

    epochs: Count = Field(30, description="Passes over the training pages")
    minutes: Positive | None = Field(
        None,
        description="Wall time of the whole run; recipe, image size and epochs are fitted to it (`docs/minutes.md`)",
    )
    plan: str | None = Field(
        None, description="What `minutes` came to; written by docclf, and a profile that has it is not planned again"
    )
    batch_size: Count = Field(32, description="Pages per optimizer step, over all processes and accumulation steps")
    accumulate: Count = Field(1, description="Micro-steps per optimizer step; each sees batch_size / accumulate pages")
    clip_grad: Positive | None = Field(1.0, description="Largest gradient norm; null does not clip")
    ema: Fraction | None = Field(
        None,
        description="Decay of the moving average of the weights (the average is scored and stored); null turns it off. "
        "It warms up: after t steps the decay is at most 1 - t^(-2/3), so .9 after 32 steps, .99 after 1,000, .999 after "
        "31,623",
    )
    batch_norm: Literal["train", "frozen"] = Field(
        "train",
        description="Statistics of batch norms: train computes them from each batch; frozen keeps those of the pretrained weights, "
        "which takes less time and suits short runs, with a smaller learning rate",
    )
    freeze_epochs: Natural = Field(0, description="Train only the classifier for the first epochs")
    frozen_stages: Natural | Literal["auto"] = Field(
        0,
        description="So many first stages keep their pretrained weights: 1 is the stem, each further one a stage of blocks (in "
        "transformers a block); auto: those that see at least every fourth pixel of a row, which in training take more than a third "
        "of the time, and none without pretrained weights",
    )
    linear_probe: Count | Literal["auto"] | None = Field(
        None,
        description="The first epoch fits the classifier alone, by logistic regression with a cross-validated penalty, to the "
        "features of this many views of each page (one plain, the others augmented); auto: as many as take about ten seconds, "
        "and none where other epochs follow and the network does not end in one linear layer",
    )
    monitor: str = Field(
        "blend",
        description="Metric that chooses the best epoch: blend (mean of clean and degraded macro-F1), blend_loss (likewise of the log loss), "
        "epoch (the last one is best) or another column that "
        "validation writes to metrics.csv, such as f1_macro, f1_macro_degraded, accuracy, val_loss",
    )
    patience: Count | None = Field(
        None, description="Stop after this many epochs without improvement; null never stops early"
    )
    max_steps: Count | None = Field(
        None,
        description="Stop after this many optimizer steps, for quick tests; schedule lengths that are null shrink with it",
    )
    folds: Annotated[int, Field(ge=2, strict=True)] | None = Field(
        None, description="Train this many cross-validation folds"
    )
    fold: Natural | None = Field(None, description="Train only this fold, counted from 0")
    refit: Flag = Field(
        False,
        description="Afterwards train on all pages for the epochs that validation chose; with `folds` the result predicts new pages",
    )
    packets: Flag = Field(
        False, description="Also learn to split packets, from documents of several pages (`docclf split-packets`)"
    )
    upright: Annotated[int, Field(ge=0, le=8, strict=True)] | Literal["auto"] = Field(
        "auto",
        description="From so many turned and mirrored copies of each page it is learned at the end of training how pages lie, for the "
        "columns turn and mirrored of predict; 0 learns nothing; auto: 8, none after a linear probe alone, and "
        "fewer where train.minutes are short",
    )
    distill: DistillConfig = Field(default_factory=DistillConfig, description="Models that this one learns from")
    snapshots: SnapshotConfig = Field(
        default_factory=SnapshotConfig, description="Which epochs are stored as ensemble members"
    )
    checkpoint_every: CheckpointEvery = Field(
        default_factory=CheckpointEvery, description="How often last.ckpt is saved"
    )
    nan_tolerance: Natural = Field(
        0,
        description="Steps with a NaN or infinite loss that are skipped before the run stops (exit 7); "
        "above 0 a GPU waits for the loss after each step",
    )

    @property
    def only_probes(self) -> bool:
        """Whether a linear probe is all of the training, so that it takes seconds."""
        return self.linear_probe is not None and self.epochs == 1

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of a fit."""
        steps = self.epochs * steps_per_epoch
        return min(steps, self.max_steps or steps)

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.fold is not None and (self.folds is None or self.fold >= self.folds):
            raise ValueError("fold: give folds as well, and a fold below it (they count from 0)")
        if self.batch_size % self.accumulate:
            raise ValueError("accumulate: must divide batch_size")
        return self


class InferenceConfig(Section):
    """How the arithmetic of scoring and predicting is done; never compiled."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Number format; auto is the format of training where that is set, else the fastest here"
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field("auto", description="Memory layout, likewise")
    check: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Compare with fp32 at the end of training, and use fp32 where they differ; auto checks the format that was picked",
    )


class RuntimeConfig(Section):
    """Where and how the arithmetic is done."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Number format of the forward and backward pass; auto measures which is fastest and stores it in the run",
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="Memory layout of images and convolutions; auto measures"
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile; auto where the run is long enough to repay the compiling"
    )
    deterministic: Flag = Field(False, description="Only deterministic kernels (slower on GPUs)")
    threads: Count | None = Field(None, description="CPU threads of the model; null fits them to the machine")
    workers: Natural | None = Field(
        None, description="Loader processes; null fits them to the machine, 0 loads in the main process"
    )
    sync_batch_norm: Flag = Field(
        False, description="Batch norms of several processes see the whole batch (on GPUs, under torchrun)"
    )
    inference: InferenceConfig = Field(default_factory=InferenceConfig, description="Scoring and predicting")

    @property
    def inference_precision(self) -> str:
        """The number format asked of scoring and predicting: its own, else that of training; may be `auto`."""
        return self.precision if self.inference.precision == "auto" else self.inference.precision


class MemberConfig(Section):
    """One member of an ensemble: a checkpoint, or a run."""

    name: str | None = Field(None, description="Name in the tables")
    checkpoint_path: str | None = Field(None, description="Checkpoint file or run folder")
    run: str | None = Field(None, description="Run folder")
    use: Literal["best", "folds", "snapshots"] = Field("best", description="Part of the run that is the member")
    weight: NonNegative = Field(1.0, description="Weight of the weighted method")

    @model_validator(mode="after")
    def _one_source(self) -> "MemberConfig":
        if (self.checkpoint_path is None) == (self.run is None):
            raise ValueError("give either checkpoint_path or run")
        return self


class ViewConfig(BaseModel):
    """One kind of TTA view; every other key is one of its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field(
        description="A registered view: horizontal_flip, vertical_flip, rotation, color_jitter, scale, crop"
    )

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, without the type."""
        return dict(self.model_extra or {})


class TTAConfig(Section):
    """Test-time augmentation: the views of a page and how they are merged."""

    enabled: Flag = Field(False, description="Also predict with views and write tta_predictions.csv")
    augmentations: tuple[ViewConfig, ...] | None = Field(
        None, description="The views; null: what the checkpoint's own policy trained"
    )
    include_identity: Flag = Field(True, description="The plain page is a view as well")
    merge: Literal["mean", "gmean", "max"] = Field("mean", description="How the views' probabilities are merged")


class EnsembleConfig(Section):
    """Which members, and how their probabilities combine."""

    enabled: Flag = Field(True, description="Accepted from older files; has no effect")
    method: str = Field("averaging", description="voting, averaging, weighted, greedy, stacking, or all")
    space: Literal["prob", "log"] = Field("prob", description="averaging: arithmetic (prob) or geometric mean (log)")
    weights: Literal["listed", "auto"] = Field("listed", description="weighted: as listed, or fitted on held-out pages")
    models: tuple[MemberConfig, ...] = Field((), description="The members")
    tta: TTAConfig = Field(default_factory=TTAConfig, description="Views for every member")


class TrackingConfig(Section):
    """An experiment tracker that mirrors the run's own metrics file."""

    backend: str = Field("wandb", description="wandb or none")
    project: str | None = Field(None, description="Project; null is WANDB_PROJECT, else docclf")
    group: str | None = Field(None, description="Group of runs; folds of a run share one")
    tags: tuple[str, ...] = Field((), description="Tags of the run")
    artifacts: Flag = Field(False, description="Upload the best checkpoint as an artifact")


class S3Config(Section):
    """Where finished models are stored."""

    bucket: str | None = Field(None, description="Bucket; null is S3_BUCKET_NAME")
    prefix: str = Field("docclf", description="Key prefix of everything stored")
    auto_push: Flag = Field(True, description="Push a finished training run where a bucket is configured")
    endpoint_url: str | None = Field(None, description="S3-compatible endpoint; null is AWS_ENDPOINT_URL, else AWS")
    server_side_encryption: Literal["AES256", "aws:kms"] | None = Field(None, description="Encryption at rest")
    kms_key_id: str | None = Field(None, description="Key of aws:kms")
    allow_http: Flag = Field(False, description="Allow an http:// endpoint that is not on this machine")
    checksums: Literal["when_supported", "when_required"] = Field(
        "when_supported", description="boto3's request checksums; when_required for stores that reject them"
    )
    retries: Count = Field(5, description="Attempts per request")


def _named(value: Any) -> Any:
    # A section given as a bare name is the group of that name; `load` has put the group file's keys below it.
    return {"name": value} if isinstance(value, str) else value


def _off(value: Any) -> Any:
    # YAML reads a bare `off` as false.
    return "off" if value is False else value


class Profile(Section):
    """Everything that decides a run."""

    name: str | None = Field(None, description="Name of the run folder; null is the model and the time")
    output: str = Field("runs", description="Parent of run folders")
    seed: Natural = Field(0, description="Random seed of initialisation, page order and augmentation")
    text: Annotated[Literal["off", "layer", "ocr", "auto"], BeforeValidator(_off)] = Field(
        "auto",
        description="Whether the model also reads: layer uses the text of PDF files; ocr also reads pages without one; auto uses "
        "layers, and OCR where a trial shows that it pays; off only looks (`docs/text.md`)",
    )
    data: DataConfig = Field(default_factory=DataConfig, description="Pages, splits, pixels")
    model: Annotated[ModelConfig, BeforeValidator(_named)] = Field(default_factory=ModelConfig, description="Network")
    optimizer: Annotated[OptimizerConfig, BeforeValidator(_named)] = Field(
        default_factory=OptimizerConfig, description="Optimizer"
    )
    scheduler: Annotated[SchedulerConfig, BeforeValidator(_named)] = Field(
        default_factory=SchedulerConfig, description="Learning-rate schedule"
    )
    loss: Annotated[LossConfig, BeforeValidator(_named)] = Field(default_factory=LossConfig, description="Loss")
    augmentation: Annotated[AugmentationConfig, BeforeValidator(_named)] = Field(
        default_factory=AugmentationConfig, description="Augmentation policy"
    )
    train: TrainConfig = Field(default_factory=TrainConfig, description="Training loop")
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig, description="Devices and numerics")
    ensemble: EnsembleConfig = Field(default_factory=EnsembleConfig, description="Ensembles and TTA")
    tracking: TrackingConfig = Field(default_factory=TrackingConfig, description="Experiment tracking")
    s3: S3Config = Field(default_factory=S3Config, description="Model storage")


class Key(NamedTuple):
    """A key of the schema; keys of list items are listed without the item's number.

    Attributes:
        name: Dotted name.
        is_mapping: Whether its value is a section or a free mapping.
    """

    name: str
    is_mapping: bool


def schema_keys(model: type[BaseModel] = Profile, prefix: str = "") -> Iterator[Key]:
    """All keys of a model and of what it holds, in the order of declaration."""
    for name, info in model.model_fields.items():
        full = f"{prefix}{name}"
        inner = _model_in(info.annotation)
        yield Key(full, inner is info.annotation or get_origin(info.annotation) is dict)
        if inner is not None:
            yield from schema_keys(inner, f"{full}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or that its list holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _model_in(part))), None)


MAPPINGS = frozenset(key.name for key in schema_keys() if key.is_mapping)
