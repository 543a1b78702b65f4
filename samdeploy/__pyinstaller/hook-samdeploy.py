"""Names for PyInstaller what an app needs to open bundles and it does not see: runtimes, which are
found by entry points, those of plugins as well, what families refer to, and the package's data."""

from PyInstaller.utils.hooks import collect_data_files, collect_entry_point

from samdeploy.families import families

#: They read checkpoints, check packages, need torch and pretend; no app runs bundles with them.
_NOT_IN_APPS = {
    f"samdeploy.runtimes.{name}"
    for name in ("torch", "mil", "executorch", "qnn_simulator", "rknn_simulator", "fake")
}

datas, _modules = collect_entry_point("samdeploy.runtimes")
datas += collect_data_files("samdeploy")
hiddenimports = [module for module in _modules if module not in _NOT_IN_APPS]
#: Families name in texts what opens their models and tells their files; loaders need torch.
for _family in families().values():
    _named = (_family.model, _family.recognises, _family.opens)
    hiddenimports += [text.partition(":")[0] for text in _named if text]
#: Of export, which is not for apps. One that imports them itself has them.
excludedimports = ["torch", "onnx", "onnxsim", "nncf", "ultralytics", "ray"]
