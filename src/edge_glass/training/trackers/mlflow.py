"""MLflow. It names its runs itself: a run of ours is found again by a tag."""

from __future__ import annotations

from typing import Any

from accelerate.tracking import MLflowTracker

from edge_glass.training.trackers import TrackedRun

TAG = "edge_glass.run_id"


class Continued(MLflowTracker):
    """Goes on with the run of this tag, if there is one; its settings stay those it began with."""

    def start(self) -> None:
        """Find the run, or begin one."""
        import mlflow

        if mlflow.search_experiments(filter_string=f"name = '{self.experiment_name}'"):
            found = mlflow.search_runs(
                experiment_names=[self.experiment_name],
                filter_string=f"tags.`{TAG}` = '{self.tags[TAG]}'",
                output_format="list",
            )
            self.run_id = found[0].info.run_id if found else None
        super().start()

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Tell the settings of a new run; MLflow lets none of them change."""
        if self.run_id is None:
            super().store_init_configuration(values)


def build(run: TrackedRun) -> Continued:
    """Make the tracker of a run. MLflow's tags are pairs: ours are written as `tag.NAME`."""
    tags = {TAG: run.id} | {f"tag.{tag}": "true" for tag in run.tags}
    return Continued(run.project, tags=tags | ({"group": run.group} if run.group else {}), run_name=run.name)
