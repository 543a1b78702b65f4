from setuptools import setup

NAME = "samdeploy_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/segmenter.launch.py"]),
        (f"share/{NAME}/config", ["config/segmenter.yaml"]),
    ],
    install_requires=["setuptools", "samdeploy"],
    zip_safe=True,
    maintainer="samdeploy",
    maintainer_email="samdeploy@users.noreply.github.com",
    description="Segment Anything with lasting ids on an image topic",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"segmenter = {NAME}.node:main"]},
)
