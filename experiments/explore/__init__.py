"""An interactive page about a trained model.

page.py     the data of a run, and the HTML file
page.html  page.css     the template of the page
model.js    the layers of the model, computed in the browser
canvas.js   access to the data, and drawing
pad.js      the pad for drawings of the user
page.js     all other parts of the page
"""

from explore.page import write_page as write_page
