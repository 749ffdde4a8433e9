(() => {
  "use strict";
  const said = document.getElementById("sorted");
  const value = (row, at) => {
    const cell = row.cells[at];
    const number = cell.dataset.value;
    if (number === undefined) return cell.textContent.trim();
    return number === "" ? null : Number(number);
  };
  const compare = (one, two) => {
    if (typeof one === "string" || typeof two === "string") {
      return String(one).localeCompare(String(two), undefined, { numeric: true });
    }
    return one - two;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [value(row, at), row]);
        rows.sort(([one], [two]) => {
          // What has no number stands last in both directions.
          if (one === null || two === null) return (one === null) - (two === null);
          return up ? compare(one, two) : compare(two, one);
        });
        body.append(...rows.map(([, row]) => row));
        said.textContent = `Sorted by ${button.textContent}, ${up ? "ascending" : "descending"}`;
      });
    });
  }
})();
