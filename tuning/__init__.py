"""The search over recipes: families and hyper-parameters by how useful samples are on real rows that were held out.

What is searched is said beside each family's part of the recipe (``synth.family``: SPACE). A study goes

    study  ──►  driver  ──►  search, halving or population (Ray Tune)  ──►  trial (Ray Train)  ──►  objective on select
                   ├──────►  longer: the best for the rest of the budget, sampled in other ways (the same way)
                   └──────►  finalists: objective on confirm  ──►  release

and all of it is in its ``record``, from which it goes on after any death, and of which ``report`` and ``display`` are views.
``memory`` keeps the records of all tables; ``prior`` says what they teach about a new one, by its ``features`` and a
``surrogate``. Contracts: a trial sees the rows of train and select alone; confirm is looked at for finalists, test by the
certificate of the release, and every look is in the record and in the release's manifest.
"""
