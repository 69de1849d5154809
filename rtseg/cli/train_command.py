"""The body of ``rtseg-train``: LightningCLI over recipes, in one line where something is wrong."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no call home on import
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of what Lightning calls

import cv2
import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from rtseg.errors import InputError, OutputError, RtsegError, UsageError
from rtseg.training.callbacks.average import AverageWeights
from rtseg.training.callbacks.checkpoints import KeepBest, KeepLast, SafeCheckpoints
from rtseg.training.callbacks.history import History
from rtseg.training.callbacks.pictures import LearningPictures
from rtseg.training.callbacks.predictions import WritePredictions
from rtseg.training.data import RoadScenes
from rtseg.training.recipes import find_recipe
from rtseg.training.task import SegmentationTask
from rtseg.training.weights import load_start, require_free


class Cli(LightningCLI):
    """LightningCLI with rtseg's callbacks, each a key of the recipe."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what a recipe may say beside ``trainer``, ``model`` and ``data``."""
        for kind, key in (
            (AverageWeights, "average"),
            (EarlyStopping, "early_stopping"),
            (LearningPictures, "pictures"),
            (History, "history"),
            (KeepBest, "best"),
        ):
            parser.add_lightning_class_args(kind, key)
        parser.set_defaults(
            {
                "early_stopping.monitor": "val_miou",
                "early_stopping.mode": "max",
                "early_stopping.patience": 30,
                "early_stopping.check_on_train_epoch_end": False,
            }
        )
        parser.link_arguments("data.classes", "model.classes")
        parser.link_arguments("data.size", "model.size")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)

    def before_instantiate_classes(self) -> None:
        """Ask for no weights to begin from where nothing is trained."""
        if self.subcommand != "fit":
            for key in ("encoder_weights", "start", "teacher"):
                self.config[self.subcommand][f"model.{key}"] = None

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the trainer with a logger and callbacks that write to the run's folder."""
        config = self._get(self.config_init, "trainer")
        folder = Path(config.get("default_root_dir") or Path("runs") / self.recipe_name())
        if self.subcommand == "fit" and not self._get(self.config, "ckpt_path"):
            require_free(folder)
        own: dict[str, Any] = {"default_root_dir": str(folder), "plugins": [SafeCheckpoints()]}
        if config.get("logger") in (None, True):
            fit = self.subcommand == "fit"
            own["logger"] = TensorBoardLogger(str(folder), name="", version="") if fit else False
        if os.environ.get("LOCAL_WORLD_SIZE"):  # under torchrun: its processes, all of them
            local = int(os.environ["LOCAL_WORLD_SIZE"])
            own["devices"] = local
            own["num_nodes"] = int(os.environ.get("WORLD_SIZE", local)) // local
            if config.get("strategy") in (None, "auto"):
                own["strategy"] = "ddp"
        callbacks = [KeepLast(), WritePredictions()]
        if config.get("enable_progress_bar") is None:
            own["enable_progress_bar"] = sys.stderr.isatty()
        if own.get("enable_progress_bar", config.get("enable_progress_bar")):
            callbacks.append(RichProgressBar(leave=False))
        config["callbacks"] = [*(config.get("callbacks") or ()), *callbacks]
        return super().instantiate_trainer(use_distributed_sampler=False, **own, **kwargs)

    def recipe_name(self) -> str:
        """Return the stem of the recipe's file."""
        configs = self._get(self.config, "config") or []
        return Path(str(configs[0])).stem if configs else "training"

    def before_fit(self) -> None:
        """Find what ``--ckpt_path`` names."""
        self._checkpoint(self.trainer.default_root_dir)

    before_validate = before_test = before_predict = before_fit

    def _checkpoint(self, folder: str) -> None:
        config = self.config_init[self.subcommand]
        named = config.get("ckpt_path")
        if self.subcommand == "fit":
            if named == "last" and not (Path(folder) / "last.ckpt").is_file():
                print(f"nothing to resume in {folder}: starting anew", flush=True)
                config["ckpt_path"] = None
            elif named in ("last", "best"):
                config["ckpt_path"] = str(Path(folder) / f"{named}.ckpt")
            return
        named = named or "best"
        if named in ("last", "best"):
            file = Path(folder) / f"{named}.ckpt"
            if not file.is_file():
                raise InputError(
                    f"{file}: no such checkpoint: train first, or give --ckpt_path FILE or a zoo"
                    " network's name"
                )
            config["ckpt_path"] = str(file)
        elif not str(named).endswith(".ckpt"):
            missing = load_start(self.model.network, str(named))
            if missing:
                raise InputError(f"{named}: not the recipe's network: {missing[0]} does not fit")
            config["ckpt_path"] = None


def _seed(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _with_recipes(arguments: list[str]) -> list[str]:
    """Put the file in the place of a recipe's name."""
    result = list(arguments)
    for i, argument in enumerate(result):
        if argument.startswith("--config="):
            result[i] = f"--config={find_recipe(argument.removeprefix('--config='))}"
        elif argument == "--config" and i + 1 < len(result):
            result[i + 1] = str(find_recipe(result[i + 1]))
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what is no news to who trains: hints, advertisements, notes on defaults."""
    for name in (
        "lightning",
        "lightning.pytorch",
        "lightning.fabric",
        "lightning.pytorch.utilities.rank_zero",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for pattern in (
            ".*args parameter is intended to run.*",
            ".*does not have many workers.*",
            ".*number of training batches.*logging interval.*",
            ".*Checkpoint directory.*exists and is not empty.*",
            ".*lr_scheduler.step.*before.*optimizer.step.*",
            ".*Detected call of.*",
            ".*num_workers.*",
            ".*dirpath has changed.*",
            ".*isinstance.treespec.*",
            ".*Found .* module.* in eval mode.*",
            ".*Trainer already configured with model summary.*",
            ".*multiple `ModelCheckpoint`.*",
            ".*Precision bf16-mixed is not supported by the model summary.*",
        ):
            warnings.filterwarnings("ignore", pattern)
        yield


def _one_line(message: str) -> str:
    """Without line breaks, and without the long account of each type that a value is not."""
    return re.sub(r"\s+", " ", message).split(" Errors: ")[0].strip()[:500]


def train(arguments: list[str]) -> int:
    """Run ``rtseg-train`` with its arguments; raises rtseg's own errors alone."""
    cv2.setNumThreads(1)
    try:
        with _quiet():
            Cli(
                SegmentationTask,
                RoadScenes,
                args=_with_recipes(arguments),
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"exit_on_error": False, "prog": "rtseg-train"}
                | {name: {"exit_on_error": False} for name in Cli.subcommands()},
                trainer_defaults={
                    "num_sanity_val_steps": 0,
                    "log_every_n_steps": 10,
                    "enable_model_summary": False,
                },
            )
    except RtsegError:
        raise
    except (ArgumentError, MisconfigurationException) as error:
        raise UsageError(_one_line(str(error))) from error
    except SIGTERMException:
        return 143
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise OutputError(f"{error.filename or 'the run'}: {error.strerror}") from error
        raise
    except torch.OutOfMemoryError as error:
        raise UsageError("out of memory: lower data.batch or data.size") from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):  # torch has no class for it
            raise
        if "Terminated" in str(error):  # by who ends the whole group: timeout, Slurm
            return 143
        raise InputError(
            "a process that reads the data was killed, maybe for want of memory: lower data.workers"
            " or data.batch, and go on with --ckpt_path last"
        ) from error
    return 0
