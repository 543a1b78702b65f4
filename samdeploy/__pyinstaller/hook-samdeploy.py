"""Names for PyInstaller what an app needs to open bundles and it does not see: runtimes, which are
found by entry points, those of plugins as well, and the package's data."""

from PyInstaller.utils.hooks import collect_data_files, collect_entry_point

#: They read checkpoints, check packages and pretend; no app runs bundles with them.
_NOT_IN_APPS = {f"samdeploy.runtimes.{name}" for name in ("torch", "mil", "fake")}

datas, _modules = collect_entry_point("samdeploy.runtimes")
datas += collect_data_files("samdeploy")
hiddenimports = [module for module in _modules if module not in _NOT_IN_APPS]
#: Of export, which is not for apps. One that imports them itself has them.
excludedimports = ["torch", "onnx", "onnxsim", "nncf", "ultralytics", "ray"]
