"""What every section of params.yaml is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Overlap = Annotated[int, Field(ge=0, le=15)]  # frames that neighbouring windows of 16 share
Name = Annotated[str, Field(pattern="^[a-z0-9_]+$")]  # of a model: part of a path


class Section(BaseModel):
    """One section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")
