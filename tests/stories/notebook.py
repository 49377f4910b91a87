"""What the researcher of the story runs in her tunnel: one cell after each marker."""
# %% read the data
import pandas as pd
flchain = pd.read_csv("/data/flchain/flchain.csv")
print(f"{flchain.person.nunique():,} persons, columns {', '.join(flchain.columns)}")
# %% counts by sex and age band
bands = pd.cut(flchain.age, [49, 59, 69, 79, 120], labels=["50-59", "60-69", "70-79", "80-"])
counts = flchain.groupby([bands, "sex"], observed=False).person.nunique().unstack()
print(counts)
print(f"{int(counts.to_numpy().sum()):,} persons in {counts.size} cells, the smallest {int(counts.to_numpy().min())}")
# %% a survival table
from lifelines import KaplanMeierFitter
flchain["dead"] = flchain.death == "dead"
years = flchain.futime / 365.25
for name, group in flchain.groupby("sex"):
    fitted = KaplanMeierFitter().fit(years[group.index], group.dead, timeline=[0, 2, 4, 6, 8, 10])
    print(name, fitted.survival_function_.round(3).iloc[:, 0].to_dict())
# %% a regression
import numpy as np
import statsmodels.api as sm
x = sm.add_constant(pd.DataFrame({"age": flchain.age, "male": (flchain.sex == "M").astype(int), "light": np.log(flchain.kappa + flchain["lambda"])}))
model = sm.Logit(flchain.dead.astype(int), x).fit(disp=0)
print(f"odds ratio of light chain {np.exp(model.params['light']):.2f}, {int(model.df_resid):,} degrees of freedom")
