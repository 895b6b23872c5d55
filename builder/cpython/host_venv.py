

# Added by Ampoule: an environment made with --copies has its own executable, which
# looks for shared libraries beside itself: they are copied along.
def _setup_python_with_libraries(self, context, _setup=EnvBuilder.setup_python):
    _setup(self, context)
    if self.symlinks:
        return
    import glob
    for library in glob.glob(os.path.join(glob.escape(sys.base_prefix), "lib", "lib*.so*")):
        shutil.copy2(library, os.path.join(context.env_dir, "lib"))


EnvBuilder.setup_python = _setup_python_with_libraries
