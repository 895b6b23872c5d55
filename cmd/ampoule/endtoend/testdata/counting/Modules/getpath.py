# Where what is added to it goes:
if not base_executable:
