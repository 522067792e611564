"""Reads Parquet on Spark and writes it again, with labels or as it is; prints the seconds that it took.

python spark_job.py MASTER label|copy FLOWS OUT
"""

from __future__ import annotations

import os
import sys
import time

from pyspark.sql import SparkSession

from etcc_edge.infer import spark as etcc


def main() -> None:
    master, task, source, target = sys.argv[1:]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    options: dict[str, bool | float | int | str | None] = {
        "spark.driver.host": "127.0.0.1",
        "spark.executor.memory": "1g",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.ui.enabled": "false",
    }
    spark = SparkSession.builder.master(master).config(map=options).getOrCreate()
    start = time.perf_counter()
    flows = spark.read.parquet(source)
    (etcc.label(flows, "default") if task == "label" else flows).write.mode("overwrite").parquet(target)
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
